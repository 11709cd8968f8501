"""A sweep's jobs as sweep.csv tells of them."""

import math
import re
from dataclasses import dataclass

from byol_cli.report.run_folder import RunFolder

SCORE = "selection_score"
FIGURES = {SCORE: "selection", "linear_top1": "linear", "knn_top1": "k-NN", "few_label_top1": "few labels"}
_BEGINNING = re.compile(r"(?:^|\s)([+~]{0,2}[\w./@-]+)=")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One line of sweep.csv; `name` is that of its folder."""

    name: str
    settings: dict[str, str]
    status: str
    figures: dict[str, float | None]
    seconds: float | None
    message: str

    @property
    def score(self) -> float | None:
        """What it is ranked by."""
        return self.figures[SCORE]


def jobs_in(run: RunFolder) -> list[Job]:
    """The jobs, best first as in sweep.csv."""
    return [
        Job(
            name=row.get("job", ""),
            settings=split_overrides(row.get("overrides", "")),
            status=row.get("status", ""),
            figures={name: number_in(row.get(name, "")) for name in FIGURES},
            seconds=number_in(row.get("seconds", "")),
            message=row.get("message", ""),
        )
        for row in run.sweep
    ]


def split_overrides(words: str) -> dict[str, str]:
    """`a=1 b.c=[2, 3]` as names and values; a value may hold spaces."""
    found = list(_BEGINNING.finditer(words))
    ends = [*(match.start() for match in found[1:]), len(words)]
    return {match[1]: words[match.end() : end].strip() for match, end in zip(found, ends, strict=True)}


def number_in(value: str) -> float | None:
    """The finite number that `value` is, or None."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
