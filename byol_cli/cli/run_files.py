"""The files without which a run is of no use: its configuration, and what became of it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from byol_cli.schema.errors import Hopeless, TrainingFault
from byol_cli.schema.load import plain
from byol_cli.training.files import write_whole
from byol_cli.training.setup import Run


def write_config(run: Run, run_dir: Path) -> None:
    """config.yaml, by which the run can go on; raises TrainingFault where it cannot be written."""
    write_folder_file(lambda: write_whole(run_dir / "config.yaml", yaml.safe_dump(plain(run.config), sort_keys=False)))


def facts_of_fault(fault: Exception) -> dict[str, Any]:
    """What summary.json tells of it."""
    if not isinstance(fault, Hopeless):
        return {"message": str(fault)}
    score = None if math.isnan(fault.score) else fault.score
    return {"message": str(fault), "stopped_by": fault.rule, "selection_score": score}


def write_folder_file(write: Callable[[], None]) -> None:
    """A run without its configuration and summary is of no use; raises TrainingFault where they cannot be written."""
    try:
        write()
    except OSError as error:
        raise TrainingFault(f"{error.filename or 'the run folder'} cannot be written: {error.strerror}") from None
