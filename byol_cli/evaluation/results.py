"""What a measurement gives: one shape for all of them, a line each of a run's evaluations.jsonl."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

RESULTS_FILE = "evaluations.jsonl"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One representation, measured one way.

    Attributes:
        measure: linear, knn, logistic, few_label, finetune, supervised, retrieval or label_free.
        representation: trained, untrained or pixels; of finetune and supervised: trained or scratch.
        measured_on: test, selection, train, all (of their labelled images), or pairs that a file names.
        figures: by name, such as top1, map or equal_error_rate; of several draws top1 is the mean, std the deviation.
        settings: every hyper-parameter, and what was chosen.
        interval: 95 % by bootstrap over images, low and high, by figure name; none of a mean over draws.
        difference: by baseline and figure name, the 95 % interval of how much higher this figure is than the
            baseline's on the same images; of a trained backbone.
        per_class: accuracy by class name.
        confusion: images by true class (rows) and predicted class; where there are at most 100 classes.
        values: what figures are the means of, by figure name and image; in memory alone.
    """

    measure: str
    representation: str
    measured_on: str
    figures: dict[str, float]
    settings: dict[str, Any]
    interval: dict[str, list[float]] = field(default_factory=dict)
    difference: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    per_class: dict[str, float] | None = None
    confusion: list[list[int]] | None = None
    values: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def row(self) -> dict[str, Any]:
        """All but the values of images."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "values"}


def append_results(path: Path, results: Iterable[Result], *, facts: dict[str, Any]) -> None:
    """Add a line each to the file at `path`, with `facts` that they share; what it holds is left as it is.

    Args:
        path: of an evaluations.jsonl, which need not exist; its folder does.
        results: figures are finite.
        facts: plain values, such as when and of which checkpoint.

    Raises:
        OSError: it cannot be written to.
    """
    lines = [json.dumps({**result.row(), **facts}, allow_nan=False) for result in results]
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            lines[:0] = [""] if file.read(1) != b"\n" else []  # a line that was cut off stands alone
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
