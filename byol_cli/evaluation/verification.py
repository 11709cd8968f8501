"""Verification: by their similarity alone, are two images of the same class? Where to draw the line is left open."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_POINTS = 200


@dataclass(frozen=True, eq=False)
class Roc:
    """What is accepted as the threshold falls: float64 `(thresholds + 1,)` each, from 0 to 1.

    `false_accept` is the share of different pairs, `true_accept` that of same pairs.
    """

    false_accept: np.ndarray
    true_accept: np.ndarray

    def area(self) -> float:
        """The chance that a same pair is more similar than a different one; equals count half."""
        steps = np.diff(self.false_accept)
        return float(np.sum(steps * (self.true_accept[1:] + self.true_accept[:-1]) / 2))

    def equal_error_rate(self) -> float:
        """Where as many different pairs are accepted as same pairs are refused, on a straight line between points."""
        gap = self.false_accept - (1 - self.true_accept)  # rises from -1 to 1
        after = int(np.argmax(gap >= 0))
        share = -gap[after - 1] / (gap[after] - gap[after - 1])
        return float(self.false_accept[after - 1] + share * (self.false_accept[after] - self.false_accept[after - 1]))

    def true_accept_at(self, rate: float) -> float:
        """The largest share of same pairs accepted by a threshold that accepts at most `rate` of the different ones."""
        return float(self.true_accept[self.false_accept <= rate].max())

    def points(self) -> dict[str, list[float]]:
        """At most 200 of its points, for a picture, denser where few are accepted."""
        count = len(self.false_accept)
        places = np.unique(np.rint(np.linspace(0, 1, min(count, MAX_POINTS)) ** 2 * (count - 1)).astype(np.int64))
        return {
            "false_accept": self.false_accept[places].round(6).tolist(),
            "true_accept": self.true_accept[places].round(6).tolist(),
        }


def roc(similarities: np.ndarray, same: np.ndarray) -> Roc:
    """Of pairs `(pairs,)`, float and bool: both kinds are there. Pairs equally similar are accepted together."""
    order = np.argsort(-similarities, kind="stable")
    ordered, is_same = similarities[order], same[order]
    last_of_equals = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    true, false = (np.cumsum(kind)[last_of_equals] / kind.sum() for kind in (is_same, ~is_same))
    return Roc(false_accept=np.insert(false, 0, 0.0), true_accept=np.insert(true, 0, 0.0))


def verification_figures(curve: Roc, *, rates: Sequence[float], num_different: int) -> dict[str, float]:
    """`roc_area`, `equal_error_rate`, and `true_accept_at_false_accept_R` for each R that so few pairs can tell.

    A rate below one of `num_different` different pairs is left out: none of them would have to be accepted.
    """
    told = [rate for rate in rates if rate * num_different >= 1]
    return {
        "roc_area": curve.area(),
        "equal_error_rate": curve.equal_error_rate(),
        **{f"true_accept_at_false_accept_{rate:g}": curve.true_accept_at(rate) for rate in told},
    }
