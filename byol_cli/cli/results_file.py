"""evaluations.jsonl: every result of `byol-train` and `byol-eval`, with all that it depends on."""

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from byol_cli.data.sources import Splits
from byol_cli.evaluation.results import RESULTS_FILE, Result, append_results
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.load import plain
from byol_cli.training.checkpoint_search import FOLDER
from byol_cli.training.checkpoint_writing import step_files
from byol_cli.training.machine import versions
from byol_cli.training.recorder import tolerated
from byol_cli.training.runtime import Runtime


def record_results(
    folder: Path, results: Sequence[Result], *, facts: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Append to the folder's file; where that cannot be written `say` is told, and nothing is lost but the lines."""
    path = folder / RESULTS_FILE
    with tolerated(path, say=say):
        folder.mkdir(exist_ok=True)
        append_results(path, results, facts=facts)


def facts_of_results(
    *,
    command: str,
    splits: Splits,
    dataset: DatasetConfig,
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
        checkpoint: the file that holds what was measured; told from `folder`, as both may be moved together.
        checkpoint_sha256: of that file.
        folder: where the results are written.
        step: that the checkpoint was saved at.
        seed: of the measurements.
        runtime: where they were made.
    """
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "dataset": dataset.name,
        "data": plain(dataset),
        "classes": list(splits.class_names),
        "data_fingerprint": splits.fingerprint,
        "checkpoint": None if checkpoint is None else Path(os.path.relpath(checkpoint, folder)).as_posix(),
        "checkpoint_sha256": checkpoint_sha256,
        "step": step,
        "seed": seed,
        "versions": versions(runtime),
    }


def newest_file(run_dir: Path) -> Path | None:
    """The checkpoint that a run has just ended with."""
    return next((path for _, path in step_files(run_dir / FOLDER)), None)
