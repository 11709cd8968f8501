"""What a measurement gives: one shape for all of them, a line each of a run's evaluations.jsonl."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS_FILE = "evaluations.jsonl"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One representation, measured one way.

    Attributes:
        measure: linear, knn, logistic, few_label, finetune, supervised, retrieval or label_free.
        representation: trained, untrained or pixels; of finetune and supervised: trained or scratch.
        measured_on: test, selection or train.
        figures: by name, such as top1, map or equal_error_rate; of several draws top1 is the mean, std the deviation.
        settings: every hyper-parameter, and what was chosen.
        interval: 95 % by bootstrap, low and high, by figure name.
        per_class: accuracy by class name.
        confusion: images by true class (rows) and predicted class; where there are at most 100 classes.
    """

    measure: str
    representation: str
    measured_on: str
    figures: dict[str, float]
    settings: dict[str, Any]
    interval: dict[str, list[float]] = field(default_factory=dict)
    per_class: dict[str, float] | None = None
    confusion: list[list[int]] | None = None


def append_results(path: Path, results: Iterable[Result], *, facts: dict[str, Any]) -> None:
    """Add a line each to the file at `path`, with `facts` that they share; what it holds is left as it is.

    Args:
        path: of an evaluations.jsonl, which need not exist; its folder does.
        results: figures are finite.
        facts: plain values, such as when and of which checkpoint.

    Raises:
        OSError: it cannot be written to.
    """
    lines = [json.dumps({**asdict(result), **facts}, allow_nan=False) for result in results]
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            lines[:0] = [""] if file.read(1) != b"\n" else []  # a line that was cut off stands alone
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
