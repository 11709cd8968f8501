"""What lies in a run's folder to be told of, read so that nothing damaged in it can end the telling."""

import csv
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The files of a run, or of a sweep, as plain data; what is missing or cannot be read is empty.

    Attributes:
        path: of the folder.
        config: of config.yaml.
        summary: of summary.json.
        metrics: lines of metrics.jsonl that have a step, in their order.
        evaluations: lines of evaluations.jsonl, oldest first.
        bad_images: path and reason of each image that could not be read.
        sweep: lines of sweep.csv, best first; empty where the folder is that of one run.
    """

    path: Path
    config: Row
    summary: Row
    metrics: list[Row]
    evaluations: list[Row]
    bad_images: list[tuple[str, str]]
    sweep: list[dict[str, str]]

    @property
    def is_sweep(self) -> bool:
        """Whether this is the folder of a sweep."""
        return bool(self.sweep)

    @property
    def checkpoint(self) -> str:
        """What `checkpoint=` takes to mean this: the folder of a run, or the file that was measured."""
        measured = self.evaluations[-1].get("checkpoint") if self.evaluations and not self.config else None
        return os.path.normpath(self.path / measured) if isinstance(measured, str) else str(self.path)

    def setting(self, key: str) -> Any:
        """A setting by its dotted name, None where there is none."""
        value: Any = self.config
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Steps and values of a recorded curve, such as `train/loss`; a value may be NaN or infinite."""
        return [(row["step"], float(row[name])) for row in self.metrics if is_number(row.get(name))]


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value that was read from a file is an int or a float."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_run_folder(path: Path, *, say: Callable[[str], None]) -> RunFolder:
    """Read the folder at `path`; `say` is told of what is damaged.

    Raises:
        OSError: a file is there and cannot be read.
    """
    metrics = json_lines(path / "metrics.jsonl", say=say)
    return RunFolder(
        path=path,
        config=_mapping(path / "config.yaml", yaml.safe_load, say=say),
        summary=_mapping(path / "summary.json", json.loads, say=say),
        metrics=[row for row in metrics if type(row.get("step")) is int],
        evaluations=json_lines(path / "evaluations.jsonl", say=say),
        bad_images=_bad_images(path / "bad_images.txt"),
        sweep=_sweep(path / "sweep.csv"),
    )


def json_lines(path: Path, *, say: Callable[[str], None]) -> list[Row]:
    """The objects in a file of one a line.

    A last line that was cut off in writing is left out without a word; of others that are damaged `say` is told.
    """
    if not path.is_file():
        return []
    *lines, unfinished = path.read_bytes().split(b"\n")
    rows = [_object(line) for line in lines if line.strip()]
    damaged = rows.count(None)
    if damaged:
        say(f"warning: {path}: what is not in the report: {damaged} damaged line{'s' * (damaged > 1)}")
    return [row for row in [*rows, _object(unfinished)] if row is not None]


def _object(line: bytes) -> Row | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _mapping(path: Path, parse: Callable[[str], Any], *, say: Callable[[str], None]) -> Row:
    if not path.is_file():
        return {}
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError):
        value = None
    if isinstance(value, dict):
        return value
    say(f"warning: {path} is damaged and not in the report")
    return {}


def _bad_images(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(name, reason) for name, _, reason in (line.partition("\t") for line in lines)]


def _sweep(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return [{str(key): str(value or "") for key, value in row.items()} for row in csv.DictReader(file)]
