"""Is the trained backbone better than what it must beat? On the same images, by a paired bootstrap."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from byol_cli.evaluation.results import Result
from byol_cli.evaluation.scoring import bootstrap_interval

_AMOUNT = ("fraction", "labels_per_class")


def compared(result: Result, others: Iterable[Result], *, seed: int) -> Result:
    """`result` with its `difference` to each of `others` that is the same measurement of another representation.

    Figures of the same images go up and down together, so that a difference is surer than the intervals of both tell.
    """
    return replace(
        result,
        difference={one.representation: _difference(result, one, seed=seed) for one in others if _alike(result, one)},
    )


def _alike(result: Result, other: Result) -> bool:
    same = [(one.measure, one.measured_on, *map(one.settings.get, _AMOUNT)) for one in (result, other)]
    lengths = [{name: len(values) for name, values in one.values.items()} for one in (result, other)]
    return same[0] == same[1] and lengths[0] == lengths[1] != {}


def _difference(result: Result, other: Result, *, seed: int) -> dict[str, list[float]]:
    """By figure name, low and high."""
    return {
        name: bootstrap_interval(values.astype(np.float64) - other.values[name], lowest=-1, seed=seed)
        for name, values in result.values.items()
    }
