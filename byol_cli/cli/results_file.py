"""evaluations.jsonl: every result of `byol-train` and `byol-eval`, with all that it depends on."""

import os
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from byol_cli.data.sources import Splits
from byol_cli.evaluation.results import RESULTS_FILE, Result, append_results
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.load import plain
from byol_cli.schema.model import TimmConfig
from byol_cli.training.checkpoint_search import FOLDER
from byol_cli.training.checkpoint_writing import step_files
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.machine import versions
from byol_cli.training.recorder import tolerated
from byol_cli.training.runtime import Runtime


class ResultsFile:
    """Takes each result as soon as it is made, so that none is lost with a later one."""

    def __init__(self, folder: Path, *, facts: dict[str, Any], stop: StopRequest, say: Callable[[str], None]) -> None:
        """Of results in `folder` that share `facts`; nothing is written yet."""
        self._path, self._facts, self._stop, self._say = folder / RESULTS_FILE, facts, stop, say
        self._said: set[str] = set()

    def __call__(self, result: Result) -> None:
        """Append a line; where the file cannot be written that is said once, and nothing is lost but the lines.

        Raises:
            Interrupted: the command was asked to stop, if only while a line was written, which is whole then.
        """
        facts = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds"), **self._facts}
        with self._stop.finishing(), tolerated(self._path, say=self._say_once):
            self._path.parent.mkdir(exist_ok=True)
            append_results(self._path, [result], facts=facts)
        self._stop.check()

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)


def facts_of_results(
    *,
    command: str,
    splits: Splits,
    dataset: DatasetConfig,
    trained_by: TrainConfig,
    checkpoint: Path | None,
    checkpoint_sha256: str | None,
    folder: Path,
    step: int,
    seed: int,
    runtime: Runtime,
) -> dict[str, Any]:
    """What results of one command share.

    Args:
        command: byol-train or byol-eval.
        splits: what was measured on.
        dataset: how it was read, and from where.
        trained_by: the configuration of the run.
        checkpoint: the file that holds what was measured; told from `folder`, as both may be moved together.
        checkpoint_sha256: of that file.
        folder: where the results are written.
        step: that the checkpoint was saved at.
        seed: of the measurements.
        runtime: where they were made.
    """
    libraries = ["scikit-learn", *(["timm"] if isinstance(trained_by.backbone, TimmConfig) else [])]
    return {
        "command": command,
        "dataset": dataset.name,
        "data": plain(dataset),
        "classes": list(splits.class_names),
        "data_fingerprint": splits.fingerprint,
        "checkpoint": None if checkpoint is None else Path(os.path.relpath(checkpoint, folder)).as_posix(),
        "checkpoint_sha256": checkpoint_sha256,
        "step": step,
        "seed": seed,
        "versions": {**versions(runtime), **{name: version(name) for name in libraries}},
    }


def newest_file(run_dir: Path) -> Path | None:
    """The checkpoint that a run has just ended with."""
    return next((path for _, path in step_files(run_dir / FOLDER)), None)
