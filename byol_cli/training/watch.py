"""What falls due after a step: figures, gauges, the probe, checkpoints, and the decision to go on."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from byol_cli.data.loader import TrainingBatches
from byol_cli.model.backbones import Backbone
from byol_cli.schema.errors import TrainingFault
from byol_cli.schema.load import plain
from byol_cli.training.checkpoint import save_checkpoint
from byol_cli.training.collapse import Gauges, read_gauges
from byol_cli.training.console import Progress, say
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.recorder import Recorder
from byol_cli.training.setup import Run
from byol_cli.training.state import versions

MAX_WAIT_SHARE = 0.1

SCORE, BEST_SCORE = "selection_score", "best_selection_score"

Probe = Callable[[Backbone], dict[str, float]]


class Watch:
    """Called after each step of the loop; returns whether to go on.

    The loss and the gradient's norm stay on the device until they are logged, so that no other step waits for it.
    """

    def __init__(
        self,
        run: Run,
        run_dir: Path,
        *,
        probe: Probe,
        gauge_images: Tensor,
        recorder: Recorder,
        batches: TrainingBatches,
        progress: Progress,
        stop: StopRequest,
    ) -> None:
        """`probe(backbone)` measures on the selection split; its first value ranks checkpoints."""
        self.run, self.probe, self.gauge_images = run, probe, gauge_images
        self.recorder, self.batches, self.progress, self.stop = recorder, batches, progress, stop
        self.folder = run_dir / "checkpoints"
        self.metrics: dict[str, float] = dict(run.resumed_metrics)
        self.gauges: Gauges | None = None
        self._warned = self._told_of_waiting = False
        self._after_start: tuple[float, float] | None = None  # seconds of waiting and of training by the first figures
        self.training_seconds = 0.0  # without gauges, probes and checkpoints
        self.first_step = self._window_step = run.state.step
        self._window_seconds = self._window_wait = 0.0
        self._saved_at = self._resumed_at = time.monotonic()

    def __call__(self, loss: Tensor, gradient_norm: Tensor) -> bool:
        """Do what is due after step `run.state.step`.

        Raises:
            TrainingFault: the loss is no number any more, or the run collapses and shall stop then.
        """
        run, trainer = self.run, self.run.config.trainer
        step, last = run.state.step, run.state.step == run.plan.total_steps
        self.progress.advance(trainer.batch_size)
        gauges = step % trainer.gauges_every_steps == 0 or step == self.first_step + 1 or last
        log = step % trainer.log_every_steps == 0 or last
        probe = step % (run.plan.steps_per_epoch * trainer.probe_every_epochs) == 0 or last
        save = self.checkpoint_due() or self.stop.requested or last
        due = gauges or log or probe or save
        if due:
            value = loss.item()  # waits for the device, so that the clock below is right
            self.training_seconds += time.monotonic() - self._resumed_at
            self._resumed_at = time.monotonic()
            if not math.isfinite(value):
                raise TrainingFault(f"step {step}: the loss is {value}; try a lower optimizer.lr")
        if gauges:
            self.read_gauges()
        if log:
            self.log({"train/loss": value, "train/gradient_norm": gradient_norm.item()})
        if probe:
            self.take_probe()
        if save:
            self.save("last.pt")
        if due:
            self._resumed_at = time.monotonic()
        return not self.stop.requested

    @property
    def score(self) -> float | None:
        """The newest value of the probe that ranks checkpoints, sweeps and learning rates."""
        return self.metrics.get(SCORE)

    @property
    def images_per_second(self) -> float | None:
        """The training rate so far, or None before the first step."""
        images = (self.run.state.step - self.first_step) * self.run.config.trainer.batch_size
        return images / self.training_seconds if images else None

    def log(self, figures: dict[str, float]) -> None:
        """Record the step's figures and show them."""
        step, trainer = self.run.state.step, self.run.config.trainer
        seconds = self.training_seconds - self._window_seconds
        figures |= {
            "train/lr": self.run.plan.learning_rate(step - 1),
            "train/tau": self.run.plan.tau(step - 1),
            "train/images_per_second": (step - self._window_step) * trainer.batch_size / seconds,
            "train/data_wait_share": (self.batches.wait_seconds - self._window_wait) / seconds,
        }
        self.tell_of_waiting()
        self._window_step, self._window_seconds = step, self.training_seconds
        self._window_wait = self.batches.wait_seconds
        self.metrics |= figures
        self.recorder.record(step, figures)
        self.progress.show(
            epoch=-(-step // self.run.plan.steps_per_epoch),
            loss=figures["train/loss"],
            feature_std=self.gauges.feature_std if self.gauges else None,
        )

    def tell_of_waiting(self) -> None:
        """Say once that steps wait for images, and what would help. The first figures are of workers just starting."""
        wait, seconds = self.batches.wait_seconds, self.training_seconds
        if self._after_start is None:
            self._after_start = wait, seconds
            return
        share = (wait - self._after_start[0]) / (seconds - self._after_start[1])
        if share > MAX_WAIT_SHARE and self.run.reads_files and not self._told_of_waiting:
            say(f"{share:.0%} of the time is spent waiting for images: {self.run.remedy_for_waiting()}")
            self._told_of_waiting = True

    def read_gauges(self) -> None:
        """Measure collapse; warn when it sets in, or stop the run where the configuration says so.

        Raises:
            TrainingFault: the run collapses and `trainer.on_collapse=stop`.
        """
        self.gauges = read_gauges(self.run.state.online, self.gauge_images, self.run.runtime)
        values = self.gauges.values()
        self.metrics |= values
        self.recorder.record(self.run.state.step, values)
        verdict = self.gauges.verdict() if self.past_the_start() else None
        if verdict and self.run.config.trainer.on_collapse == "stop":
            self.save("last.pt")
            raise TrainingFault(f"step {self.run.state.step}: {verdict}; trainer.on_collapse=warn would go on")
        if verdict and not self._warned:
            say(f"warning: step {self.run.state.step}: {verdict}")
        self._warned = verdict is not None

    def past_the_start(self) -> bool:
        """Untrained networks give all images nearly the same features: gauges are judged after the warm-up."""
        step, plan = self.run.state.step, self.run.plan
        return step > plan.warmup_steps and (
            step >= self.run.config.trainer.gauges_every_steps or step == plan.total_steps
        )

    def take_probe(self) -> None:
        """Measure on the selection split, and keep the best checkpoint by it."""
        values = {f"probe/{name}": value for name, value in self.probe(self.run.state.online.backbone).items()}
        self.run.state.online.train()
        self.recorder.record(self.run.state.step, values)
        score = next(iter(values.values()))
        self.metrics |= {**values, SCORE: score}
        if score > self.metrics.get(BEST_SCORE, -math.inf):
            self.metrics[BEST_SCORE] = score
            self.save("best.pt")

    def checkpoint_due(self) -> bool:
        """By steps or by minutes since the last one."""
        trainer = self.run.config.trainer
        by_steps = trainer.checkpoint_every_steps and self.run.state.step % trainer.checkpoint_every_steps == 0
        return bool(by_steps) or time.monotonic() - self._saved_at >= 60 * trainer.checkpoint_every_minutes

    def save(self, name: str) -> None:
        """Write checkpoints/`name`."""
        checkpoint: dict[str, Any] = {
            **self.run.state.tensors(),
            "epoch": self.run.state.step // self.run.plan.steps_per_epoch,
            "data_fingerprint": self.run.splits.fingerprint,
            "config": plain(self.run.config),
            "normalization": {"mean": self.run.mean.tolist(), "std": self.run.std.tolist()},
            "channels": self.run.splits.channels,
            "versions": versions(),
            "metrics": self.metrics,
        }
        save_checkpoint(self.folder / name, checkpoint)
        if name == "last.pt":
            self._saved_at = time.monotonic()
