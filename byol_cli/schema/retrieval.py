"""Search and verification: the uses in which classes are new when the network is used."""

from dataclasses import dataclass
from typing import Annotated, Literal

from byol_cli.schema.constraints import Count, Range, refuse_repeats
from byol_cli.schema.errors import InputError

MAX_NUMBERS = 100
NumPairs = Annotated[int, Range(low=2, cap=10**8)]
FalseAcceptRate = Annotated[float, Range(low=0, high=1, low_open=True, high_open=True)]


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Recall among the `k` nearest, mean average precision, and verification of pairs.

    `among` all labelled images or the test images alone, which are the selection split where there are none, and the
    training images where nothing is held out; auto takes them all of a data set of which the backbone has seen nothing.
    `pairs` is a CSV file with the columns path1, path2 and same; null draws `num_pairs` of them.
    """

    among: Literal["auto", "test", "all"]
    k: list[Count]
    pairs: str | None
    num_pairs: NumPairs
    false_accept_rates: list[FalseAcceptRate]

    def __post_init__(self) -> None:
        for name, numbers in (("k", self.k), ("false_accept_rates", self.false_accept_rates)):
            if len(numbers) > MAX_NUMBERS:
                raise InputError(f"{name} has {len(numbers)} numbers, it takes at most {MAX_NUMBERS}")
        refuse_repeats(k=self.k, false_accept_rates=self.false_accept_rates)
        if not self.k:
            raise InputError("k=[]: give at least one number, such as [1,5,10]")
