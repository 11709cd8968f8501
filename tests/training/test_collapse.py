"""The gauges tell a collapsed batch from a healthy one, and say so in words."""

import torch

from byol_cli.training.collapse import Gauges
from byol_cli.training.gauges import effective_rank, feature_std, mean_cosine


def gauges_of(features: torch.Tensor) -> Gauges:
    return Gauges(
        feature_std=feature_std(features),
        effective_rank=effective_rank(features),
        mean_cosine=mean_cosine(features),
    )


def test_spread_out_features_are_healthy() -> None:
    assert gauges_of(torch.randn(256, 64, generator=torch.Generator().manual_seed(0))).verdict() is None


def test_equal_features_are_a_collapse() -> None:
    noise = 0.01 * torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
    verdict = gauges_of(torch.ones(256, 64) + noise).verdict()
    assert verdict is not None
    assert "feature std 0.0" in verdict
    assert "mean cosine 1.000 (above 0.99)" in verdict


def test_features_along_one_line_are_a_collapse_of_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(256, 1, generator=generator) * torch.randn(1, 64, generator=generator)
    verdict = gauges_of(features).verdict()
    assert verdict is not None
    assert "effective rank" in verdict


def test_broken_numbers_are_never_healthy() -> None:
    assert Gauges(feature_std=float("nan"), effective_rank=float("nan"), mean_cosine=float("nan")).verdict() is not None
