"""What became of a sweep's jobs, read from their folders: one table on the terminal, and sweep.csv."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byol_cli.cli.command import DONE, FAULT, INTERRUPTED, REFUSED
from byol_cli.cli.folders import holder_of
from byol_cli.cli.job_folder import RECORD, JobRecord, read_object, record_in

FIGURES = ("selection_score", "linear_top1", "knn_top1", "few_label_top1")
TITLES = ("job", "overrides", "status", "selection", "linear", "k-NN", "few-label", "time")
_FIELDS = ("job", "overrides", "status", *FIGURES, "seconds", "message")
_SHOWN = 50  # jobs on the terminal
_NUMBERS = (int, float, type(None))

NOT_RUN = "not run"
_EXIT_CODES = {"done": DONE, "stopped": FAULT, "interrupted": INTERRUPTED, "failed": REFUSED}


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """What became of a job.

    Attributes:
        name: of its folder.
        overrides: all of it.
        status: done, stopped, failed, interrupted, unfinished, running or not run.
        exit_code: as that of a single run.
        figures: the scores by their names in summary.json, and the seconds.
        message: why it is not done.
    """

    name: str
    overrides: list[str]
    status: str
    exit_code: int
    figures: Mapping[str, float | None]
    message: str

    @property
    def rank(self) -> tuple[bool, float]:
        """Best first by the selection split, those that are not done after those that are."""
        score = self.figures.get("selection_score")
        return self.status != "done", math.inf if score is None else -score


def ends_of(sweep_dir: Path, jobs: Mapping[str, list[str]], here: dict[str, JobRecord]) -> list[JobEnd]:
    """All jobs in a sweep's folder, best first.

    Args:
        sweep_dir: its folder.
        jobs: that were to be run, by their folders' names.
        here: how jobs ended in this process, in place of what a full disk could not keep.
    """
    folders = sorted(path.parent for path in sweep_dir.glob(f"*/{RECORD}"))
    found = {folder.name: record for folder in folders if (record := record_in(folder)) is not None}
    planned = {name: JobRecord(words) for name, words in jobs.items()}
    records = planned | found | here
    ends = [_end_of(sweep_dir / name, record, begun=name in found or name in here) for name, record in records.items()]
    return sorted(ends, key=lambda end: end.rank)


def _end_of(run_dir: Path, record: JobRecord, *, begun: bool) -> JobEnd:
    summary = _whole(read_object(run_dir / "summary.json"))
    status, message = _status(record, summary, begun=begun)
    holder = None if status == "done" else holder_of(run_dir)
    if holder is not None:
        status, message = "running", f"it is being written by {holder}"
    exit_code = record.exit_code or _EXIT_CODES.get(status, FAULT)
    return JobEnd(
        name=run_dir.name,
        overrides=record.overrides,
        status=status,
        exit_code=exit_code,
        figures={name: summary.get(name) for name in (*FIGURES, "seconds")} if status in ("done", "stopped") else {},
        message=message,
    )


def _status(record: JobRecord, summary: Mapping[str, Any], *, begun: bool) -> tuple[str, str]:
    status = summary.get("status")
    if not begun:
        return NOT_RUN, ""
    if record.exit_code in (None, DONE):
        if status == "done":
            return "done", ""
        if record.exit_code is None:
            return "unfinished", "its process ended without a word"
        return "failed", "its summary.json is damaged"
    if record.exit_code == INTERRUPTED:
        return "interrupted", ""
    return "stopped" if record.exit_code == FAULT and status == "stopped" else "failed", record.message


def _whole(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Empty where a figure is none."""
    return summary if all(isinstance(summary.get(name), _NUMBERS) for name in (*FIGURES, "seconds")) else {}


def exit_code_of(ends: Sequence[JobEnd]) -> int:
    """0 where any job is done, else the gravest of the jobs' exit codes."""
    codes = [end.exit_code for end in ends if end.status != NOT_RUN]
    return DONE if DONE in codes else max(codes, default=DONE)


def changes_of(ends: Sequence[JobEnd]) -> dict[str, str]:
    """By job, the overrides that not all jobs share."""
    shared = set.intersection(*(set(end.overrides) for end in ends)) if len(ends) > 1 else set()
    return {end.name: " ".join(word for word in end.overrides if word not in shared) for end in ends}


def csv_of(ends: Sequence[JobEnd]) -> str:
    """sweep.csv: a line a job."""
    text, changes = io.StringIO(), changes_of(ends)
    writer = csv.DictWriter(text, fieldnames=_FIELDS, lineterminator="\n")
    writer.writeheader()
    for end in ends:
        known = {"job": end.name, "overrides": changes[end.name], "status": end.status, "message": end.message}
        writer.writerow({**known, **end.figures})
    return text.getvalue()


def table_of(ends: Sequence[JobEnd]) -> str:
    """For the terminal: the best jobs, and why others are not done."""
    changes = changes_of(ends)
    lines = [TITLES, *(_cells(end, changes[end.name]) for end in ends[:_SHOWN])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    if len(ends) > _SHOWN:
        shown.append(f"and {len(ends) - _SHOWN:,} more in sweep.csv")
    reasons = [f"{end.name}: {end.message}" for end in ends if end.message]
    if len(reasons) > _SHOWN:
        reasons[_SHOWN:] = [f"and {len(reasons) - _SHOWN:,} more in sweep.csv"]
    return "\n".join([*shown, *([""] if reasons else []), *reasons])


def _cells(end: JobEnd, changes: str) -> tuple[str, ...]:
    scores = (end.figures.get(name) for name in FIGURES)
    figures = ("-" if score is None else f"{score:.3f}" for score in scores)
    seconds = end.figures.get("seconds")
    return end.name, changes, end.status, *figures, "-" if seconds is None else f"{seconds:.0f} s"
