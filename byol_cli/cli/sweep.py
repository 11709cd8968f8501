"""`byol-train -m`: every combination in its own folder, one table and sweep.csv at the end."""

import csv
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override

from byol_cli.cli.command import Outcome, run_job
from byol_cli.cli.compose import parse_overrides
from byol_cli.schema.errors import InputError

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
        self._ran: dict[int, tuple[str, Outcome]] = {}

    @property
    def exit_code(self) -> int:
        """0 where any job came to its end, else the gravest of the jobs' exit codes."""
        codes = [outcome.exit_code for _, outcome in self._ran.values()]
        return 0 if 0 in codes else max(codes, default=0)

    def run_job(self, program: str, run_dir: Path, job: Callable[[], Outcome]) -> Outcome:
        """Announce and run one job; its end is in its folder whatever happens, so that no failure is lost."""
        hydra = HydraConfig.get()
        number, changes = hydra.job.num, self._changes(hydra.overrides.task)
        total = f" of {len(self.jobs)}" if self.jobs else ""
        print(f"\n[job {number + 1}{total}] {changes}", file=sys.stderr, flush=True)
        began = time.monotonic()
        outcome = run_job(program, job, contain_bugs=True)
        self._ran[number] = changes, outcome
        path = run_dir / SUMMARY
        if outcome.exit_code and not path.is_file():
            summary = {"status": "failed", "message": outcome.message, "seconds": time.monotonic() - began}
            path.write_text(json.dumps(summary, indent=2))
        return outcome

    def finish(self, folder: Path) -> str:
        """Write sweep.csv in the sweep's `folder`; returns the table, best first by the selection split."""
        changes = {number: self._changes(job) for number, job in enumerate(self.jobs)}
        changes |= {number: changed for number, (changed, _) in self._ran.items()}
        rows = sorted((_row(folder, number, changed) for number, changed in changes.items()), key=_rank)
        with (folder / "sweep.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=["job", "overrides", "status", *FIGURES, "seconds", "message"])
            writer.writeheader()
            writer.writerows(rows)
        return f"\n{_table(rows)}\n\nsweep folder: {folder}"

    def _changes(self, job: Sequence[str]) -> str:
        return " ".join(word for word in job if parse_overrides([word])[0].key_or_group in self.settings)


def _choices(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line or ""]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _row(folder: Path, number: int, changes: str) -> dict[str, Any]:
    path = folder / str(number) / SUMMARY
    summary = json.loads(path.read_text()) if path.is_file() else {"status": "not run"}
    figures = {name: summary.get(name) for name in (*FIGURES, "seconds", "message")}
    return {"job": number, "overrides": changes, "status": summary["status"], **figures}


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
