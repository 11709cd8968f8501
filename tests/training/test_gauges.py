import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from byol_cli.training.gauges import effective_rank, feature_std, mean_cosine


def gaussian(images: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(images, dim, generator=torch.Generator().manual_seed(seed))


def test_effective_rank_of_features_on_one_line_is_one_dimension() -> None:
    features = gaussian(50, 1) * gaussian(1, 20) + 3
    assert effective_rank(features) == pytest.approx(1 / 20, rel=1e-4)


def test_effective_rank_of_centred_orthogonal_columns_is_full() -> None:
    # Columns 1 to 7 of a Hadamard matrix are orthogonal to each other and to the constant column 0.
    hadamard = torch.ones(1, 1)
    for _ in range(3):
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    assert effective_rank(hadamard[:, 1:]) == pytest.approx(1)
    assert effective_rank(hadamard[:, 1:5]) == pytest.approx(1)


def test_effective_rank_of_orthonormal_features_is_all_that_so_few_images_can_span() -> None:
    assert effective_rank(torch.eye(10, 64)) == pytest.approx(1)  # ten points span nine dimensions


def test_effective_rank_of_isotropic_noise_is_near_one() -> None:
    assert effective_rank(gaussian(4000, 16)) == pytest.approx(1, abs=0.01)


def test_effective_rank_is_the_exponential_of_the_entropy_of_the_singular_values() -> None:
    features = gaussian(30, 8).double() * torch.arange(1, 9)
    singular_values = np.linalg.svd((features - features.mean(0)).numpy(), compute_uv=False)
    shares = singular_values / singular_values.sum()
    assert effective_rank(features) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()) / 8)
    wide = features.T.contiguous()  # fewer images than dimensions
    singular_values = np.linalg.svd((wide - wide.mean(0)).numpy(), compute_uv=False)[:7]
    shares = singular_values / singular_values.sum()
    assert effective_rank(wide) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()) / 7)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_effective_rank_of_constant_features_is_zero_even_with_rounding_noise(value: float) -> None:
    constant = torch.full((64, 32), value)
    assert effective_rank(constant) == 0
    assert effective_rank(constant * (1 + 1e-7 * gaussian(64, 32))) == 0
    assert effective_rank(constant[:1]) == 0


def test_effective_rank_does_not_count_what_all_images_share() -> None:
    features = gaussian(200, 8)
    assert effective_rank(features + 100) == pytest.approx(effective_rank(features), abs=1e-3)


def test_effective_rank_of_diverged_features_is_not_a_number() -> None:
    assert math.isnan(effective_rank(torch.tensor([[1.0, math.nan], [0.0, 1.0]])))
    assert math.isnan(effective_rank(torch.tensor([[1.0, math.inf], [0.0, 1.0]])))


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False),
    ),
    st.floats(0.01, 100),
)
@settings(max_examples=100, deadline=None)
def test_effective_rank_is_a_share_and_does_not_depend_on_scale_or_order(values: np.ndarray, scale: float) -> None:
    features = torch.from_numpy(values).double()
    rank = effective_rank(features)
    assert 0 <= rank <= 1 + 1e-9
    assert effective_rank(features.flip(0)) == pytest.approx(rank, abs=1e-4)
    assert effective_rank(features * scale) == pytest.approx(rank, abs=1e-4)


def test_feature_std_is_one_where_isotropic_and_zero_where_collapsed() -> None:
    assert feature_std(gaussian(2000, 64)) == pytest.approx(1, abs=0.03)
    assert feature_std(gaussian(2000, 64) * 1e-3) == pytest.approx(1, abs=0.03)
    assert feature_std(torch.full((20, 64), 0.3)) == pytest.approx(0, abs=1e-6)
    assert feature_std(gaussian(1, 64).expand(20, 64)) == pytest.approx(0, abs=1e-6)


def test_feature_std_is_low_where_features_share_a_direction() -> None:
    assert feature_std(gaussian(500, 64) + 10) < 0.2


def test_mean_cosine_is_that_of_all_pairs_of_different_images() -> None:
    features = gaussian(12, 5) + 0.5
    pairs = [
        torch.nn.functional.cosine_similarity(features[i], features[j], dim=0).item()
        for i in range(12)
        for j in range(12)
        if i != j
    ]
    assert mean_cosine(features) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_mean_cosine_is_one_where_collapsed_and_minus_one_for_opposites() -> None:
    assert mean_cosine(torch.full((9, 7), 0.3)) == pytest.approx(1)
    assert mean_cosine(torch.tensor([[1.0, 2.0], [-2.0, -4.0]])) == pytest.approx(-1)


def test_gauges_take_features_that_need_a_gradient_and_half_precision() -> None:
    features = gaussian(16, 8).requires_grad_()
    for gauge in (effective_rank, mean_cosine, feature_std):
        assert isinstance(gauge(features), float)
        assert gauge(features.bfloat16()) == pytest.approx(gauge(features), abs=0.02)
