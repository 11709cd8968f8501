"""Random numbers as a pure function of where they are used: a counter-based hash instead of a generator with a state.

The words (domain, seed, epoch, sample index, view, slot) are folded one after another into 64 bits by the finaliser of
splitmix64 (Steele, Lea and Flood 2014, with Stafford's constants, variant 13). A sample's draws depend on nothing but
these words: not on the number of workers, the rank, the other samples of its batch or what was drawn before.
All arithmetic is modulo 2**64.
"""

from enum import IntEnum

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SHIFTS = (30, 27, 31)


class Domain(IntEnum):
    """The first word of every hash: it keeps draws for different purposes independent."""

    VIEW = 1
    ORDER = 2
    NOISE = 3
    SUBSTITUTE = 4
    GENERATOR = 5


def hash64(*words: int | np.ndarray) -> np.ndarray:
    """64 well-mixed bits for every combination of the words, which broadcast against each other.

    Args:
        words: integers from 0 to 2**64 - 1, or arrays of such (int64 keys count as their 64 bits).

    Returns:
        uint64 array of the words' common shape.
    """
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for word in words:
            state = _mix((state ^ np.asarray(word).astype(np.uint64)) + np.uint64(GOLDEN))
    return np.asarray(state)


def _mix(bits: np.ndarray) -> np.ndarray:
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(multiplier)
    return bits ^ (bits >> np.uint64(SHIFTS[-1]))


def uniforms(*, seed: int, epoch: int, indices: np.ndarray, view: int, num_slots: int) -> np.ndarray:
    """Uniform draws for one view of a batch of samples.

    Args:
        seed: of the run.
        epoch: counted from 0.
        indices: int64 (batch,), the samples' places in the data set.
        view: 0 or 1.
        num_slots: how many draws a sample gets; draw `k` is the same whatever this number is.

    Returns:
        float64 (batch, num_slots) in [0, 1).
    """
    bits = hash64(Domain.VIEW, seed, epoch, indices[:, None], view, np.arange(num_slots))
    return (bits >> np.uint64(11)) * 2.0**-53


def noise_keys(*, seed: int, epoch: int, indices: np.ndarray, view: int) -> np.ndarray:
    """64 bits a sample, int64 (batch,), from which pixel noise is hashed."""
    return hash64(Domain.NOISE, seed, epoch, indices, view).view(np.int64)


def epoch_order(*, seed: int, epoch: int, num_images: int) -> np.ndarray:
    """The order in which an epoch visits the images: a permutation of 0 ... num_images - 1, int64."""
    return np.argsort(hash64(Domain.ORDER, seed, epoch, np.arange(num_images)), kind="stable")
