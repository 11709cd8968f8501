"""Ranges that field types carry: `lr: Positive` is a float that must be above 0.

A range is written as `not (low < x < high)`, so that NaN is refused like any other value outside it.

A cap lies far beyond what anybody means: only a slip, or a stranger's checkpoint, holds more, and building what it asks
for would take all memory, or forever, before the first step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from byol_cli.schema.errors import InputError


@dataclass(frozen=True)
class Range:
    """The interval from `low` to `high`; `low_open` and `high_open` leave that end out. No value is above `cap`."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    cap: float = math.inf

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below and value <= self.cap and abs(value) < math.inf

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "a finite number"
        if math.isinf(self.high):
            return f"{'above' if self.low_open else 'at least'} {self.low:g}"
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"in {left}{self.low:g}, {self.high:g}{right}"

    def allowed_in_place_of(self, value: float) -> str:
        """What is wanted where `value` lies outside: the cap is named only where it is passed."""
        return f"at most {self.cap:,}" if self.cap < value < math.inf else str(self)


Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(low=0, low_open=True)]
NonNegative = Annotated[float, Range(low=0)]
Probability = Annotated[float, Range(low=0, high=1)]
Fraction = Annotated[float, Range(low=0, high=1, high_open=True)]
UnitInterval = Annotated[float, Range(low=0, high=1, low_open=True)]
Seed = Annotated[int, Range(low=0, high=2**63 - 1)]

# Steps, images, neighbors: their products are computed in 64 bits here and there.
Count = Annotated[int, Range(low=1, cap=10**12)]

# Multiplied with float32 weights and gradients, and by batch / 256: float32 ends at 3.4e38, and torch raises beyond it.
Factor = Annotated[float, Range(low=0, low_open=True, cap=1e30)]
FactorOrZero = Annotated[float, Range(low=0, cap=1e30)]

# Divides cosines, in float32: below it the nearest neighbour alone votes, above it all votes are alike.
Temperature = Annotated[float, Range(low=1e-6, cap=1e6)]

# Pixels a side: the largest photographs; one float32 view of this size and 3 channels takes 0.8 GB.
ImageSide = Annotated[int, Range(low=8, cap=8192)]

# Four times the paper's hidden layers, 64 times its projections: a layer between the two widest takes 1 GB.
HeadWidth = Annotated[int, Range(low=1, cap=16_384)]

# Twice ResNet-50's widest stage; and more stages than halving leaves pixels for, more blocks than ResNet-152 has.
StageWidth = Annotated[int, Range(low=1, cap=4096)]
NumBlocks = Annotated[int, Range(low=1, cap=64)]

# Processes: a machine has not so many cores for one GPU.
NumWorkers = Annotated[int, Range(low=0, cap=1024)]

# Passes over all features: a hundred times the paper's 80, and repeated draws whose mean has long settled.
ProbeEpochs = Annotated[int, Range(low=1, cap=10_000)]
NumDraws = Annotated[int, Range(low=1, cap=10_000)]

# scikit-learn's C: its solver does not come to an end far outside.
Regularization = Annotated[float, Range(low=1e-6, cap=1e6)]


def refuse_repeats(**lists: Sequence[float]) -> None:
    """Raise InputError where one of the lists of numbers, by their settings' names, has a number twice."""
    for name, numbers in lists.items():
        if len(set(numbers)) < len(numbers):
            raise InputError(f"{name}=[{','.join(f'{number:g}' for number in numbers)}] has a number twice")
