"""evaluations.jsonl: every result of `byol-train` and `byol-eval`, with all that it depends on."""

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from byol_cli.data.sources import Splits
from byol_cli.evaluation.results import RESULTS_FILE, Result, append_results
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
        append_results(path, results, facts=facts)


def facts_of_results(
    *,
    command: str,
    splits: Splits,
    dataset: str,
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
        dataset: its name.
        checkpoint: the file that holds what was measured, in `folder` or below; told from there, as it may be moved.
        checkpoint_sha256: of that file.
        folder: where the results are written.
        step: that the checkpoint was saved at.
        seed: of the measurements.
        runtime: where they were made.
    """
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "dataset": dataset,
        "classes": list(splits.class_names),
        "data_fingerprint": splits.fingerprint,
        "checkpoint": None if checkpoint is None else checkpoint.relative_to(folder).as_posix(),
        "checkpoint_sha256": checkpoint_sha256,
        "step": step,
        "seed": seed,
        "versions": versions(runtime),
    }


def newest_file(run_dir: Path) -> Path | None:
    """The checkpoint that a run has just ended with."""
    return next((path for _, path in step_files(run_dir / FOLDER)), None)
