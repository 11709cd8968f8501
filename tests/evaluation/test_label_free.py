import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byol_cli.evaluation.label_free import alignment, label_free_figures, rankme, uniformity
from byol_cli.training.gauges import effective_rank


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 20))
@settings(deadline=None, max_examples=40)
def test_rankme_is_the_entropy_of_the_singular_values(seed: int, images: int, dim: int) -> None:
    features = drawn(seed, images, dim).double().numpy()
    values = np.sqrt(np.clip(np.linalg.eigvalsh(features.T @ features), 0, None))
    shares = [value / values.sum() for value in values if value > 1e-9 * values.max()]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert rankme(torch.from_numpy(features)) == pytest.approx(expected, rel=1e-3)
    assert 1 - 1e-3 < expected <= min(images, dim) + 1e-3


def test_rankme_counts_equally_strong_directions() -> None:
    assert rankme(torch.eye(7)) == pytest.approx(7, rel=1e-3)
    assert rankme(torch.ones(9, 4)) == pytest.approx(1, rel=1e-3)
    assert math.isfinite(rankme(torch.zeros(5, 3)))


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 8))
@settings(deadline=None, max_examples=40)
def test_alignment_and_uniformity_are_those_of_plain_loops(seed: int, images: int, dim: int) -> None:
    pairs = drawn(seed, images, 2, dim) + 0.1
    unit = pairs.double().numpy() / np.linalg.norm(pairs.double().numpy(), axis=2, keepdims=True)
    distances = [float(((one - other) ** 2).sum()) for one, other in unit]
    assert alignment(pairs) == pytest.approx(np.mean(distances))
    logs = []
    for view in range(2):
        terms = [math.exp(-2 * ((unit[i, view] - unit[j, view]) ** 2).sum()) for i in range(images) for j in range(i)]
        logs.append(math.log(np.mean(terms)))
    assert uniformity(pairs) == pytest.approx(np.mean(logs), abs=1e-6)


def test_the_ends_of_alignment_and_uniformity() -> None:
    same = torch.ones(4, 2, 3)
    assert (alignment(same), uniformity(same)) == pytest.approx((0, 0), abs=1e-6)
    opposite = torch.tensor([[[1.0, 0], [-1, 0]], [[-1, 0], [1, 0]]])
    assert (alignment(opposite), uniformity(opposite)) == pytest.approx((4, -8))


def test_ranks_of_many_images_are_those_of_a_sample_over_all_of_them() -> None:
    features = drawn(0, 5000, 8)
    features[2500:] *= torch.arange(8)  # the second half has another spectrum
    figures = label_free_figures(features, None)
    assert figures == pytest.approx({"effective_rank": effective_rank(features), "rankme": rankme(features)}, rel=0.03)


def test_a_single_pair_tells_nothing_of_uniformity() -> None:
    assert set(label_free_figures(drawn(0, 5, 3), drawn(1, 1, 2, 3))) == {"effective_rank", "rankme"}
    figures = label_free_figures(drawn(0, 5, 3), drawn(1, 2, 2, 3))
    assert set(figures) == {"effective_rank", "rankme", "alignment", "uniformity"}
