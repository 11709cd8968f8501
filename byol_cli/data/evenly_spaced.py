"""A few numbers that stand for many."""

import numpy as np


def evenly_spaced(count: int, *, at_most: int) -> np.ndarray:
    """Up to `at_most` of the numbers 0 ... count - 1, evenly spread, int64."""
    number = min(count, at_most)
    return np.arange(number, dtype=np.int64) * count // max(number, 1)
