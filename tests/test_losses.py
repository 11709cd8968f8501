"""Losses against formulas written out with loops in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from byol_cli.losses import LOSSES, article_consistency_loss, regression_loss, symmetric_loss


def features(seed: int, batch: int = 7, dim: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def regression_by_loops(prediction: Tensor, target: Tensor) -> float:
    total = 0.0
    for q, z in zip(prediction.tolist(), target.tolist(), strict=True):
        total += 2 - 2 * dot(q, z) / (math.sqrt(dot(q, q)) * math.sqrt(dot(z, z)))
    return total / len(prediction)


def article_by_loops(prediction: Tensor, target: Tensor) -> float:
    online, other = prediction.tolist(), target.tolist()
    total = 0.0
    for i in range(len(online)):
        for j in range(len(other)):
            same, another = dot(online[i], other[j]), dot(online[i], other[j - 1])
            total += math.log(math.exp(same) / (math.exp(same) + math.exp(another)))
    return -total / len(online)


def test_regression_loss_is_the_formula_written_out() -> None:
    prediction, target = features(1), features(2)
    assert regression_loss(prediction, target).item() == pytest.approx(
        regression_by_loops(prediction, target), rel=1e-6
    )


def test_float64_features_give_a_float64_loss() -> None:
    prediction, target = features(1, dtype=torch.float64), features(2, dtype=torch.float64)
    loss = regression_loss(prediction, target)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(regression_by_loops(prediction, target), rel=1e-14)


def test_regression_loss_is_0_for_the_same_direction_2_for_a_right_angle_and_4_for_the_opposite() -> None:
    right, up = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    assert regression_loss(right, 5 * right).item() == 0
    assert regression_loss(right, up).item() == 2
    assert regression_loss(right, -right).item() == 4


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 9), dim=st.integers(1, 9), size=st.floats(1e-6, 1e6))
def test_regression_loss_lies_in_0_to_4_and_ignores_the_scale(seed: int, batch: int, dim: int, size: float) -> None:
    prediction, target = features(seed, batch, dim), features(seed + 1, batch, dim)
    loss = regression_loss(prediction, target).item()
    assert -1e-6 <= loss <= 4 + 1e-6
    assert regression_loss(size * prediction, target).item() == pytest.approx(loss, abs=1e-5)
    assert regression_loss(prediction, size * target).item() == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_article_loss_is_the_double_loop(batch: int) -> None:
    prediction, target = features(3, batch), features(4, batch)
    expected = article_by_loops(prediction, target)
    assert article_consistency_loss(prediction, target).item() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 9))
def test_article_loss_is_least_for_equal_targets_and_never_pairs_samples(seed: int, batch: int) -> None:
    prediction, target = features(seed, batch), features(seed + 1, batch)
    loss = article_consistency_loss(prediction, target).item()
    assert loss >= batch * math.log(2) - 1e-5
    shuffled = prediction[torch.randperm(batch, generator=torch.Generator().manual_seed(seed))]
    assert article_consistency_loss(shuffled, target).item() == pytest.approx(loss, rel=1e-5)


def test_article_loss_of_equal_features_is_log_2_a_pair() -> None:
    same = torch.ones(6, 4)
    assert article_consistency_loss(same, same).item() == pytest.approx(6 * 6 * math.log(2) / 6, rel=1e-6)


def test_article_loss_is_finite_where_the_exponentials_overflow() -> None:
    prediction = torch.tensor([[100.0], [100.0]])
    target = torch.tensor([[10.0], [-10.0]])
    # s - s' is +2000 in one column and -2000 in the other: log of the softmax is 0 and -2000.
    assert article_consistency_loss(prediction, target).item() == pytest.approx(2 * 2000 / 2)


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_sends_a_gradient_to_the_target(name: str) -> None:
    prediction, target = features(5).requires_grad_(), features(6).requires_grad_()
    LOSSES[name](prediction, target).backward()
    assert prediction.grad is not None
    assert prediction.grad.abs().sum() > 0
    assert target.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_computed_in_float32_whatever_the_autocast_type(name: str, dtype: torch.dtype) -> None:
    prediction, target = features(7, dtype=dtype), features(8, dtype=dtype)
    expected = LOSSES[name](prediction.double(), target.double()).item()
    with torch.autocast("cpu", dtype=dtype):
        low = LOSSES[name](prediction, target)
        high = LOSSES[name](prediction.float(), target.float())
    assert low.dtype == high.dtype == torch.float32
    assert low.item() == pytest.approx(expected, rel=1e-5)
    assert high.item() == pytest.approx(expected, rel=1e-5)


def test_symmetric_loss_crosses_the_views_and_is_not_halved() -> None:
    q1, q2, z1, z2 = features(1), features(2), features(3), features(4)
    expected = regression_by_loops(q1, z2) + regression_by_loops(q2, z1)
    assert symmetric_loss(regression_loss, (q1, q2), (z1, z2)).item() == pytest.approx(expected, rel=1e-6)
