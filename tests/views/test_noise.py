import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from byol_cli.views.counter import hash64
from byol_cli.views.noise import add_noise_, hash_pixels, standard_normals

KEYS = torch.from_numpy(hash64(1, np.arange(64)).view(np.int64))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5), st.integers(1, 50))
def test_pixels_are_hashed_in_torch_as_in_numpy(keys: list[int], num_pixels: int) -> None:
    in_numpy = hash64(np.array(keys, dtype=np.int64)[:, None], np.arange(num_pixels)).view(np.int64)
    assert np.array_equal(hash_pixels(torch.tensor(keys), num_pixels).numpy(), in_numpy)


def test_noise_is_standard_normal_with_uncorrelated_pixels_and_samples() -> None:
    normals = standard_normals(KEYS, 4_001).double()
    assert normals.shape == (64, 4_001)
    assert abs(normals.mean()) < 4.5 / normals.numel() ** 0.5
    assert abs(normals.std() - 1) < 4.5 / (2 * normals.numel()) ** 0.5
    assert kstest(normals.flatten().numpy(), "norm").pvalue > 1e-3
    half = 2_001
    for first, second in (
        (normals[:-1], normals[1:]),
        (normals[:, :-1], normals[:, 1:]),
        (normals[:, : 4_001 - half], normals[:, half:]),
    ):
        assert abs((first * second).mean()) < 4.5 / first.numel() ** 0.5
        assert abs(((first**2 - 1) * (second**2 - 1)).mean()) < 2 * 4.5 / first.numel() ** 0.5


def test_noise_depends_on_its_key_alone() -> None:
    together = standard_normals(KEYS, 75)
    torch.testing.assert_close(standard_normals(KEYS[3:4], 75)[0], together[3], atol=1e-5, rtol=0)
    assert len(together.unique(dim=0)) == len(KEYS)


def test_noise_is_scaled_by_each_samples_std_and_clamped() -> None:
    std = torch.linspace(0, 0.1, 64)
    noisy = torch.full((64, 3, 40, 40), 0.5)
    add_noise_(noisy, std, KEYS)
    measured = (noisy - 0.5).flatten(1).std(dim=1)
    torch.testing.assert_close(measured, std, rtol=0.06, atol=0)
    extreme = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).repeat(1, 1, 50, 50)
    add_noise_(extreme, torch.ones(2), KEYS[:2])
    assert extreme.min() == 0
    assert extreme.max() == 1
