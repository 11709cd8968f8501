import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Subset, whole
from byol_cli.data.splits import Split, hold_out, split_indices
from byol_cli.schema.errors import InputError

SEEDS = st.integers(0, 2**63 - 1)
FRACTIONS = st.floats(0, 1, exclude_max=True)
LABELS = st.lists(st.integers(0, 5), max_size=80).map(lambda values: np.array(values, dtype=np.int64))


def toy(labels: list[int] | None, num: int) -> Subset:
    values = None if labels is None else np.array(labels, dtype=np.int64)
    return whole(ArrayImages(images=torch.zeros(num, 1, 2, 2, dtype=torch.uint8), labels=values, class_names=()))


@given(n=st.integers(0, 200), fraction=FRACTIONS, seed=SEEDS, split=st.sampled_from(Split))
def test_the_two_parts_are_disjoint_complete_sorted_and_of_the_right_size(
    n: int, fraction: float, seed: int, split: Split
) -> None:
    rest, held = split_indices(n, fraction, seed=seed, labels=None, split=split)
    assert sorted([*rest, *held]) == list(range(n))
    assert list(rest) == sorted(rest)
    assert list(held) == sorted(held)
    if fraction == 0:
        assert len(held) == 0
    elif n >= 3:
        assert 2 <= len(held) < n
        assert abs(len(held) - n * fraction) <= 2


@given(labels=LABELS, fraction=FRACTIONS, seed=SEEDS)
def test_every_class_gives_its_share_to_within_one_image(labels: np.ndarray, fraction: float, seed: int) -> None:
    rest, held = split_indices(len(labels), fraction, seed=seed, labels=labels, split=Split.TEST)
    assert sorted([*rest, *held]) == list(range(len(labels)))
    for value in set(labels.tolist()):
        share = len(held) * (labels == value).sum() / len(labels)
        assert abs((labels[held] == value).sum() - share) <= 1


def test_a_class_of_one_image_keeps_it_while_others_can_give() -> None:
    labels = np.array([0] * 10 + [1] * 10 + [2, 3, 4])
    for seed in range(20):
        _, held = split_indices(23, 0.3, seed=seed, labels=labels, split=Split.SELECTION)
        assert labels[held].max() < 2


@given(seed=SEEDS)
def test_the_split_is_a_pure_function(seed: int) -> None:
    first = split_indices(50, 0.3, seed=seed, labels=None, split=Split.TEST)
    np.random.seed(1)
    again = split_indices(50, 0.3, seed=seed, labels=None, split=Split.TEST)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_known_split_never_changes() -> None:
    _, held = split_indices(20, 0.3, seed=7, labels=None, split=Split.TEST)
    assert held.tolist() == [1, 2, 6, 9, 17, 19]


def test_seeds_and_purposes_give_other_splits_and_each_image_its_turn() -> None:
    counts = np.zeros(40)
    for seed in range(300):
        _, held = split_indices(40, 0.25, seed=seed, labels=None, split=Split.TEST)
        counts[held] += 1
    assert counts.min() > 45  # of 300, 75 are expected, with a standard deviation of 7.5
    assert counts.max() < 105
    held_for = [split_indices(40, 0.25, seed=0, labels=None, split=split)[1].tolist() for split in Split]
    assert held_for[0] != held_for[1]


def test_only_labelled_images_are_held_out_and_the_rest_keeps_all_others() -> None:
    subset = toy([-1, 0, 1, -1, 0, 1, -1, 0, 1, -1], 10).take(np.arange(1, 10))
    rest, held = hold_out(subset, 0.5, seed=0, split=Split.SELECTION)
    assert held.labels is not None
    assert sorted(held.labels) in ([0, 0, 1], [0, 1, 1])
    assert sorted([*rest.indices, *held.indices]) == list(range(1, 10))


def test_too_few_images_are_refused_in_words() -> None:
    with pytest.raises(InputError, match=r"dataset.test_fraction=0.5 needs at least 4 images.*there are 3"):
        hold_out(toy(None, 3), 0.5, seed=0, split=Split.TEST)
    with pytest.raises(InputError, match=r"dataset.selection_fraction=0.5 .* there are 2"):
        hold_out(toy([0, 1, -1, -1, -1], 5), 0.5, seed=0, split=Split.SELECTION)
    rest, held = hold_out(toy(None, 3), 0.0, seed=0, split=Split.TEST)
    assert (len(rest), len(held)) == (3, 0)
