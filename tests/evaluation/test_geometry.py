import math

import pytest
import torch
from torch.nn import functional

from byol_cli.evaluation import geometry
from byol_cli.evaluation.geometry import alignment, uniformity


def gaussian(images: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(images, dim, generator=torch.Generator().manual_seed(seed))


def test_alignment_is_zero_for_equal_directions_and_four_for_opposite_ones() -> None:
    features = gaussian(10, 4)
    assert alignment(features, 3 * features) == pytest.approx(0, abs=1e-9)
    assert alignment(features, -features) == pytest.approx(4)
    assert alignment(gaussian(4000, 64), gaussian(4000, 64, seed=1)) == pytest.approx(2, abs=0.02)


def test_alignment_is_two_minus_twice_the_cosine() -> None:
    first, second = gaussian(10, 4), gaussian(10, 4, seed=1)
    expected = (2 - 2 * functional.cosine_similarity(first, second)).mean().item()
    assert alignment(first, second) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_uniformity_is_the_log_mean_of_the_gaussian_potential_of_all_pairs(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(geometry, "_CHUNK", chunk)
    features = gaussian(30, 5) + 0.3
    distances = torch.pdist(functional.normalize(features.double(), dim=1))
    for t in (0.5, 2):
        assert uniformity(features, t=t) == pytest.approx(distances.pow(2).mul(-t).exp().mean().log().item())


def test_uniformity_is_zero_where_collapsed_and_low_where_spread() -> None:
    assert uniformity(torch.full((20, 8), 0.3)) == pytest.approx(0, abs=1e-9)
    assert uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(gaussian(500, 256)) == pytest.approx(-4, abs=0.1)


def test_uniformity_of_evenly_spaced_directions_beats_that_of_bunched_ones() -> None:
    angles = torch.arange(8) * (2 * math.pi / 8)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1)
    bunched = torch.stack([(angles / 4).cos(), (angles / 4).sin()], dim=1)
    assert uniformity(circle) < uniformity(bunched) < 0
