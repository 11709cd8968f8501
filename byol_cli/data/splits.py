"""Which images are held out: a pure function of the seed, independent of any generator and its version."""

from enum import IntEnum

import numpy as np

from byol_cli.data.sources import Subset
from byol_cli.schema.errors import InputError
from byol_cli.views.counter import hash64

MIN_IMAGES = 4


class Split(IntEnum):
    """The first word of the hash, so that two splits by one seed are independent; apart from `views.counter.Domain`."""

    TEST = 101
    SELECTION = 102


def split_indices(
    n: int, fraction: float, *, seed: int, labels: np.ndarray | None, split: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out about `fraction` of `n` images, stratified by `labels` where they are given.

    At least 2 are held out and at least 1 is not, unless `fraction` is 0: then none is. Every class gives its share to
    within one image; one that would lose all its images is asked last.

    Args:
        n: how many images there are.
        fraction: in [0, 1).
        seed: from 0 to 2**63 - 1.
        labels: int64 (n,), or None.
        split: what they are held out for.

    Returns:
        The places of the rest and of those held out, int64, each sorted.
    """
    num_held = 0 if fraction == 0 else max(0, min(max(2, int(n * fraction + 0.5)), n - 1))
    classes = np.zeros(n, dtype=np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(classes)
    in_lot_order = np.lexsort((hash64(split, seed, np.arange(n)), classes))
    place_in_class = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = place_in_class < np.repeat(_shares(sizes, num_held), sizes)
    held = np.zeros(n, dtype=bool)
    held[in_lot_order[chosen]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """How many of `total` each class gives: its proportion rounded down, then the largest remainders."""
    exact = sizes * total
    shares, remainders = np.divmod(exact, max(1, sizes.sum()))
    exhausted = shares + 1 == sizes
    next_in_line = np.lexsort((-remainders, exhausted))
    shares[next_in_line[: total - shares.sum()]] += 1
    return shares


def hold_out(subset: Subset, fraction: float, *, seed: int, split: Split) -> tuple[Subset, Subset]:
    """Split a part of an image set in two, stratified; where it has labels, only labelled images are held out.

    Returns:
        The rest and the images held out.

    Raises:
        InputError: there are too few images.
    """
    candidates = np.arange(len(subset)) if subset.labels is None else np.flatnonzero(subset.labels >= 0)
    if fraction > 0 and len(candidates) < MIN_IMAGES:
        raise InputError(
            f"dataset.{split.name.lower()}_fraction={fraction:g} needs at least {MIN_IMAGES} images to choose from, "
            f"there are {len(candidates)}; 0 holds none out"
        )
    labels = None if subset.labels is None else subset.labels[candidates]
    _, held = split_indices(len(candidates), fraction, seed=seed, labels=labels, split=split)
    mask = np.zeros(len(subset), dtype=bool)
    mask[candidates[held]] = True
    return subset.take(~mask), subset.take(mask)
