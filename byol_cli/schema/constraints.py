"""Ranges that field types carry: `lr: Positive` is a float that must be above 0.

A range is written as `not (low < x < high)`, so that NaN is refused like any other value outside it.
"""

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """The interval from `low` to `high`; `low_open` and `high_open` leave that end out."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "a finite number"
        if math.isinf(self.high):
            return f"{'above' if self.low_open else 'at least'} {self.low:g}"
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"in {left}{self.low:g}, {self.high:g}{right}"


Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(low=0, low_open=True)]
NonNegative = Annotated[float, Range(low=0)]
Probability = Annotated[float, Range(low=0, high=1)]
Fraction = Annotated[float, Range(low=0, high=1, high_open=True)]
UnitInterval = Annotated[float, Range(low=0, high=1, low_open=True)]
Count = Annotated[int, Range(low=1)]
CountOrZero = Annotated[int, Range(low=0)]
Seed = Annotated[int, Range(low=0, high=2**63 - 1)]
