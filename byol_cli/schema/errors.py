"""The ways a command can fail on purpose; each carries one line for the person at the terminal."""

import math


class InputError(Exception):
    """Something the user gave is wrong: a setting, a path, a file. One line, exit code 2."""


class TrainingFault(Exception):
    """Training cannot go on: it diverged, collapsed or cannot save. One line, exit code 3."""


class Hopeless(TrainingFault):
    """Training could go on, but is not worth it: `rule` says so. `score` is what it has come to."""

    def __init__(self, message: str, *, rule: str = "", score: float = math.nan) -> None:
        """`rule`: collapse or median; `score` of the selection split, NaN where it was not measured yet."""
        super().__init__(message)
        self.rule, self.score = rule, score
