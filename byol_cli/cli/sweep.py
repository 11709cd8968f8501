"""`byol-train -m`: every combination in its own folder, one table and sweep.csv at the end."""

import csv
import io
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override

from byol_cli.cli.command import REFUSED, Outcome, complain, run_job, warn
from byol_cli.cli.compose import parse_overrides
from byol_cli.cli.folders import RunLock
from byol_cli.schema.errors import InputError
from byol_cli.training.files import tolerated, write_whole

SUMMARY = "summary.json"
FIGURES = ("selection_score", "linear_top1", "knn_top1", "few_label_top1")
TITLES = ("job", "overrides", "status", "selection", "linear", "k-NN", "few-label", "time")


def refuse_sweep(words: Sequence[str]) -> None:
    """Refuse several values outside a sweep; raises InputError."""
    for override in parse_overrides(words):
        if override.is_sweep_override():
            raise InputError(
                f"{override.input_line}: several values make a sweep, add -m; a list is written in brackets"
            )


class JobEnd(NamedTuple):
    """What was changed in a job, and what became of it."""

    changes: str
    exit_code: int
    summary: dict[str, Any]


class Sweep:
    """The jobs of a sweep: `jobs[i]` is the list of overrides of the job that Hydra numbers i.

    A sweeper other than Hydra's basic one chooses its jobs as it goes; then `jobs` is empty.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Lay out all combinations; raises InputError where nothing is swept."""
        overrides = parse_overrides(words)
        swept = [override for override in overrides if override.is_sweep_override()]
        self.settings = [override.key_or_group for override in swept]
        if not self.settings:
            raise InputError("-m needs a setting with several values, such as optimizer.lr=0.1,0.2")
        self.fixed = [override.input_line or "" for override in overrides if override not in swept]
        self.jobs: list[list[str]] = []
        if not any(override.key_or_group == "hydra/sweeper" for override in overrides):
            choices = [_choices(override) for override in overrides]
            self.jobs = [list(job) for job in itertools.product(*choices)]
        self._ran: dict[int, JobEnd] = {}

    @property
    def exit_code(self) -> int:
        """0 where any job came to its end, else the gravest of the jobs' exit codes."""
        codes = [end.exit_code for end in self._ran.values()]
        return 0 if 0 in codes else max(codes, default=0)

    def run_job(self, program: str, run_dir: Path, job: Callable[[], Outcome]) -> Outcome:
        """Announce and run one job, alone in its folder; its end is written there, too, so that no failure is lost."""
        hydra = HydraConfig.get()
        number, changes = hydra.job.num, self._changes(hydra.overrides.task)
        total = f" of {len(self.jobs)}" if self.jobs else ""
        warn("")
        warn(f"[job {number + 1}{total}] {changes}")
        began = time.monotonic()
        try:
            with RunLock(run_dir, field="hydra.sweep.dir", say=warn):
                outcome = run_job(program, job, contain_bugs=True)
                summary = _left_by(outcome, run_dir / SUMMARY, seconds=time.monotonic() - began)
        except InputError as error:  # what is in the folder is another process's
            outcome = Outcome(REFUSED, message=str(error))
            complain(program, outcome)
            summary = _failed(outcome.message)
        self._ran[number] = JobEnd(changes, outcome.exit_code, summary)
        return outcome

    def finish(self, folder: Path) -> str:
        """Write sweep.csv in the sweep's `folder`; returns the table, best first by the selection split."""
        ends = {number: JobEnd(self._changes(job), 0, {"status": "not run"}) for number, job in enumerate(self.jobs)}
        rows = sorted((_row(number, end) for number, end in (ends | self._ran).items()), key=_rank)
        text = io.StringIO()
        fields = ["job", "overrides", "status", *FIGURES, "seconds", "message"]
        writer = csv.DictWriter(text, fieldnames=fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with tolerated(folder / "sweep.csv", say=warn):
            write_whole(folder / "sweep.csv", text.getvalue())
        return f"\n{_table(rows)}\n\nsweep folder: {folder}"

    def _changes(self, job: Sequence[str]) -> str:
        return " ".join(word for word in job if parse_overrides([word])[0].key_or_group in self.settings)


def _choices(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line or ""]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _left_by(outcome: Outcome, path: Path, *, seconds: float) -> dict[str, Any]:
    """The summary that a job left in `path`; of one that failed before it could leave one, it is written here."""
    summary = _read_summary(path)
    if summary is not None and (summary["status"] == "done") == (outcome.exit_code == 0):
        return summary
    failed = _failed(outcome.message or f"{path} is damaged", seconds=seconds)
    if not path.exists():
        with tolerated(path, say=warn):
            write_whole(path, json.dumps(failed, indent=2))
    return failed


def _read_summary(path: Path) -> dict[str, Any] | None:
    """None where there is none, or one that is damaged."""
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    numbers = (int, float, type(None))
    whole = isinstance(summary, dict) and all(isinstance(summary.get(name), numbers) for name in (*FIGURES, "seconds"))
    return summary if whole and isinstance(summary.get("status"), str) else None


def _failed(message: str, *, seconds: float | None = None) -> dict[str, Any]:
    return {"status": "failed", "message": message, "seconds": seconds}


def _row(number: int, end: JobEnd) -> dict[str, Any]:
    figures = {name: end.summary.get(name) for name in (*FIGURES, "seconds", "message")}
    return {"job": number, "overrides": end.changes, "status": end.summary["status"], **figures}


def _rank(row: dict[str, Any]) -> tuple[bool, float, int]:
    score = row["selection_score"]
    return row["status"] != "done", math.inf if score is None else -score, row["job"]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [TITLES, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    figures = ("-" if row[name] is None else f"{row[name]:.3f}" for name in FIGURES)
    seconds = "-" if row["seconds"] is None else f"{row['seconds']:.0f} s"
    return str(row["job"]), row["overrides"], row["status"], *figures, seconds
