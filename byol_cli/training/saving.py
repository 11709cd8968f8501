"""When a checkpoint is due, what is in it, and what happens where it cannot be written."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from byol_cli.schema.errors import TrainingFault
from byol_cli.schema.load import plain
from byol_cli.training.checkpoint_writing import BackgroundWriter, CheckpointFolder, all_finite, snapshot
from byol_cli.training.machine import versions
from byol_cli.training.setup import Run

SECONDS_BETWEEN_ATTEMPTS = 0.5


class NoSaver:
    """In place of a Saver, in a process that leaves saving to the first one."""

    good_step: int | None = None

    def __init__(self, run: Run) -> None:
        """`run` is looked at alone."""
        self._run = run

    def due(self) -> bool:
        """The first process knows."""
        return False

    def save(self, *, best: bool) -> None:
        """Nothing."""

    def save_and_wait(self, *, best: bool) -> None:
        """Nothing."""

    def look_back(self) -> None:
        """Nothing."""

    def look_back_if_written(self) -> None:
        """Nothing."""

    def is_finite(self) -> bool:
        """As a Saver says."""
        return all_finite(self._run.state.changing_tensors())

    def last_good(self) -> str:
        """The first process knows."""
        return ""

    def close(self) -> None:
        """Nothing."""


class Saver:
    """Saves a run by steps and by minutes, beside the loop; a few saves in a row may fail."""

    def __init__(
        self, run: Run, folder: Path, *, metrics: dict[str, float], sync: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        """Take over `folder`.

        Args:
            run: what is saved.
            folder: of its checkpoints.
            metrics: the newest figures, which are saved too; changed by their owner while the run goes on.
            sync: sees that the figures recorded so far are on the disk; called in the writer's thread before a
                checkpoint takes its name, so that none is newer than they are.
            say: is told in one line of a save that failed.

        Raises:
            TrainingFault: the folder cannot be used.
        """
        trainer = run.config.trainer
        self._run, self._metrics, self._sync, self._say = run, metrics, sync, say
        self._folder = CheckpointFolder(folder, keep_last=trainer.keep_last, keep_every=trainer.keep_every)
        self._writer = BackgroundWriter()
        self._saved_at = time.monotonic()
        self._failed = 0  # in a row
        self._written_step: int | None = None  # of the checkpoint that is being written
        self._told_of_slowness: int | None = None
        self.good_step = run.state.step or None  # what there is to go back to
        try:
            self._folder.begin(start_step=run.state.step)
        except OSError as error:
            raise TrainingFault(f"{folder} cannot be written to: {error.strerror}") from None

    def due(self) -> bool:
        """By steps, by minutes, or because this step's checkpoint is kept for good."""
        trainer, step = self._run.config.trainer, self._run.state.step
        by_steps = any(every and step % every == 0 for every in (trainer.checkpoint_every_steps, trainer.keep_every))
        return by_steps or time.monotonic() - self._saved_at >= 60 * trainer.checkpoint_every_minutes

    def save(self, *, best: bool) -> None:
        """Copy the state and have it written while training goes on.

        Where storage is so slow that the one before is still being written, this one is left out, unless it is the
        best or to be kept for good: those are waited for.

        Raises:
            TrainingFault: too many saves in a row have failed.
        """
        every, step = self._run.config.trainer.keep_every, self._run.state.step
        if self._writer.busy and not best and not (every and step % every == 0):
            if self._told_of_slowness != self._written_step:
                self._say(
                    f"warning: step {step} is not saved: that of step {self._written_step} is still being written"
                )
            self._told_of_slowness, self._saved_at = self._written_step, time.monotonic()
            return
        self.look_back()
        self._saved_at = time.monotonic()
        checkpoint = snapshot(self._checkpoint())
        self._written_step = checkpoint["step"]
        self._writer.start(partial(self._write, checkpoint, best=best))

    def look_back(self) -> None:
        """Wait for the checkpoint that is being written, and tell where it could not be.

        Raises:
            TrainingFault: too many saves in a row have failed.
        """
        reason = self._failure()
        if reason is None:
            return
        limit = self._run.config.trainer.max_failed_saves
        if self._failed >= limit:
            raise TrainingFault(f"{reason} ({self._failed} failures in a row, trainer.max_failed_saves={limit})")
        self._say(f"warning: {reason}; the run goes on (failure {self._failed}, the run stops at {limit})")

    def look_back_if_written(self) -> None:
        """Tell of a failure as soon as it is known, without waiting; raises as `look_back` does."""
        if not self._writer.busy:
            self.look_back()

    def save_and_wait(self, *, best: bool) -> None:
        """Have the state on the disk before anything else happens, as at the end of a run.

        Where it cannot be written, it is tried again, as often as saves may fail in a row.

        Raises:
            TrainingFault: it cannot be written.
        """
        self.look_back()
        self._failed = 0
        while True:
            self.save(best=best)
            self.look_back()
            if self.good_step == self._run.state.step:
                return
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)

    def is_finite(self) -> bool:
        """Whether every number that would be saved is finite; waits for the device."""
        return all_finite(self._run.state.changing_tensors())

    def last_good(self) -> str:
        """In words, what there is to go back to."""
        step = self.good_step
        return "there is no checkpoint yet" if step is None else f"the last checkpoint is that of step {step}"

    def close(self) -> None:
        """Let the writer come to its end, and tell where it could not write."""
        reason = self._failure()
        if reason is not None:
            self._say(f"warning: {reason}")
        self._writer.close()

    def _failure(self) -> str | None:
        """Wait for the checkpoint that is being written; in words, why it could not be."""
        error, step = self._writer.wait(), self._written_step
        if step is None:
            return None
        self._written_step = None
        if error is None:
            self._failed, self.good_step = 0, step
            return None
        self._failed += 1
        return f"step {step} cannot be saved: {error.strerror or error}; {self.last_good()}"

    def _write(self, checkpoint: dict[str, Any], *, best: bool) -> None:
        self._sync()
        self._folder.write(checkpoint, best=best)

    def _checkpoint(self) -> dict[str, Any]:
        run = self._run
        return {
            **run.state.tensors(),
            "epoch": run.state.step // run.plan.steps_per_epoch,
            "data_fingerprint": run.splits.fingerprint,
            "config": plain(run.config),
            "normalization": {"mean": run.mean.tolist(), "std": run.std.tolist()},
            "channels": run.splits.channels,
            "versions": versions(run.runtime),
            "metrics": self._metrics,
        }
