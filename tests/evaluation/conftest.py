from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits


class Digits(NamedTuple):
    """Handwritten digits of 8 x 8 pixels as features `(images, 64)` in [0, 1], in three splits."""

    train: torch.Tensor
    train_labels: torch.Tensor
    selection: torch.Tensor
    selection_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor


@pytest.fixture(scope="session")
def digits() -> Digits:
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = np.split(order, [1200, 1400])
    features = torch.from_numpy(pixels / 16).float()
    targets = torch.from_numpy(labels).long()
    return Digits(*[tensor for part in parts for tensor in (features[part], targets[part])])


@pytest.fixture(autouse=True)
def _global_random_state_is_left_alone() -> Iterator[None]:
    """Whatever these tests call: torch's and numpy's global generators stand where they stood."""
    before, before_numpy = torch.get_rng_state(), _numpy_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)
    assert _numpy_state() == before_numpy


def _numpy_state() -> str:
    return repr([part if not isinstance(part, np.ndarray) else part.tolist() for part in np.random.get_state()])
