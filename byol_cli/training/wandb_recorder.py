"""Weights & Biases, as its own variables say: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline, ..."""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

PROJECT = "byol-cli"


class WandbRecorder:
    """One W&B run."""

    def __init__(self, run: Any, *, hook: Any) -> None:
        """`hook`: sys.excepthook as it was, which W&B takes for itself."""
        self._run, self._hook = run, hook
        run.define_metric("*", step_metric="step")  # W&B's own step cannot go back, as a run that goes on may

    @property
    def id(self) -> str:
        """W&B's id of the run."""
        return str(self._run.id)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        self._run.log({"step": step, **values})

    def finish(self, status: str, figures: Mapping[str, float]) -> None:
        """The figures into the run's summary; a run that is not done counts there as failed."""
        self._run.summary.update({"status": status, **figures})
        self._run.finish(exit_code=0 if status == "done" else 1)
        sys.excepthook = self._hook


def begin(settings: Mapping[str, Any], *, run_dir: Path, known_id: str | None) -> WandbRecorder:
    """Begin a W&B run, or go on with the one of `known_id`; its files lie in `run_dir`."""
    hook = sys.excepthook
    run = wandb.init(
        id=known_id or secrets.token_hex(4),
        resume="allow",
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        group=run_dir.absolute().parent.name,
        name=run_dir.name,
        dir=run_dir,
        config=dict(settings),
        settings=wandb.Settings(console="off", silent=True, save_code=False, disable_git=True, reinit="create_new"),
    )
    return WandbRecorder(run, hook=hook)
