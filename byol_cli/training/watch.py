"""What falls due after a step: figures, gauges, the probe, checkpoints, and the decision to go on."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from byol_cli.data.loader import TrainingBatches
from byol_cli.model.backbones import Backbone
from byol_cli.schema.errors import Hopeless, InputError, TrainingFault
from byol_cli.training.checkpoint_search import FOLDER, newest_good
from byol_cli.training.collapse import read_gauges
from byol_cli.training.console import Progress, say
from byol_cli.training.distributed import check_same_weights, share_bad_images
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.median_rule import rule_for
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.ranks import any_of_us, from_first, in_all_alike, is_first, together
from byol_cli.training.recorder import NoRecorder, Recorder
from byol_cli.training.saving import NoSaver, Saver
from byol_cli.training.setup import Run
from byol_cli.training.waiting import Waiting

SCORE, BEST_SCORE = "selection_score", "best_selection_score"
SKIPPED, ROLLBACKS = "train/nonfinite_steps", "train/rollbacks"  # both counted against trainer.max_nonfinite

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
        recorder: Recorder | NoRecorder,
        batches: TrainingBatches,
        progress: Progress,
        guard: NonfiniteGuard,
        stop: StopRequest,
    ) -> None:
        """`probe(backbone)` measures on the selection split; its first value ranks checkpoints."""
        self.run, self.run_dir, self.probe, self.gauge_images = run, run_dir, probe, gauge_images
        self.recorder, self.batches, self.progress = recorder, batches, progress
        self.guard, self.stop = guard, stop
        self.others = rule_for(run, run_dir)
        self.metrics: dict[str, float] = dict(run.resumed_metrics)
        self.saver = together(lambda: self.make_saver())
        self._warned = False
        self._waiting = Waiting(run, say=say)
        self.training_seconds = 0.0  # without gauges, probes and checkpoints
        self.first_step = self._window_step = run.state.step
        self._window_seconds = self._window_wait = 0.0
        self._resumed_at = time.monotonic()
        if run.config.trainer.on_nonfinite == "rollback" and self.saver.good_step is None:
            self.saver.save(best=False)  # there must be something to go back to

    def __call__(self, loss: Tensor, gradient_norm: Tensor) -> bool:
        """Do what is due after step `run.state.step`.

        Raises:
            TrainingFault: the run diverges, collapses or cannot be saved, and shall stop then; or it is hopeless.
        """
        run, trainer = self.run, self.run.config.trainer
        step, last = run.state.step, run.state.step == run.plan.total_steps
        self.progress.advance(trainer.batch_size)
        # Asked once: a signal that comes later is heeded after the next step.
        stopping, save = any_of_us(self.stop.requested, self.saver.due())
        gauges = step % trainer.gauges_every_steps == 0 or step == 1 or last
        log = step % trainer.log_every_steps == 0 or last
        probe = step % (run.plan.steps_per_epoch * trainer.probe_every_epochs) == 0 or last
        save = save or stopping or last
        if step % trainer.compare_ranks_every_steps == 0 or step == self.first_step + 1 or last:
            check_same_weights([run.state.online, run.state.target], step=step)
        if not (gauges or log or probe or save):
            return True
        figures = {"train/loss": loss.item(), "train/gradient_norm": gradient_norm.item()}  # waits for the device
        self.training_seconds += time.monotonic() - self._resumed_at
        self.saver.look_back_if_written()
        self.judge_nonfinite(about_to_save=save or probe or gauges)
        if gauges:
            self.read_gauges()
        if log and self.run.splits.pretrain.images.skips_bad:
            share_bad_images(self.run.bad_images)
        if log and all(map(math.isfinite, figures.values())):
            self.log(figures)
        best = self.take_probe() if probe else False
        if probe and not last:
            self.compare_with_others(best=best)
        if last or stopping or save or best:
            run.state.about_to_save()
        if last or stopping:
            from_first(lambda: self.saver.save_and_wait(best=best))
        elif save or best:
            self.saver.save(best=best)
        self._resumed_at = time.monotonic()
        return not stopping

    def judge_nonfinite(self, *, about_to_save: bool) -> None:
        """Go back, or stop, where a step since the last look was not finite, or weights that are to be saved are not.

        Raises:
            TrainingFault: by `trainer.on_nonfinite`, or there were too many such steps.
        """
        trainer, step = self.run.config.trainer, self.run.state.step
        policy, count = trainer.on_nonfinite, self.guard.take_count()
        broken = about_to_save and not self.saver.is_finite()
        if not count and not broken:
            return
        what = "the loss or its gradient is not finite" if count else "weights are not finite"
        self.saver.look_back()
        if policy == "stop" or (policy == "skip" and broken):
            narrow = "" if self.run.runtime.precision == "fp32" else "trainer.precision=fp32, "
            raise in_all_alike(
                TrainingFault(
                    f"step {step}: {what}; try a lower optimizer.lr, {narrow}or trainer.on_nonfinite=rollback; "
                    f"{self.saver.last_good()}"
                )
            )
        name, new = (SKIPPED, count) if policy == "skip" else (ROLLBACKS, 1)
        total = self.metrics[name] = self.metrics.get(name, 0) + new
        if total > trainer.max_nonfinite:
            raise in_all_alike(
                TrainingFault(
                    f"step {step}: {what}; {total} such cases are more than "
                    f"trainer.max_nonfinite={trainer.max_nonfinite}; {self.saver.last_good()}"
                )
            )
        done = "left out" if policy == "skip" else self.roll_back()
        say(f"warning: step {step}: {what}: {done} (case {total}, the run stops above {trainer.max_nonfinite})")
        self.recorder.record(step, {name: total})

    def roll_back(self) -> str:
        """Take the last checkpoint's weights, and go on with the images that come next: not into the same pit again."""

        def newest() -> tuple[Path, dict[str, Any]]:
            found = newest_good(self.run_dir, field="rollback", say=say)
            if found is None:
                raise InputError(f"{self.saver.last_good()} to go back to")
            return found

        try:
            path, checkpoint = from_first(newest)
            self.run.state.restore_weights(checkpoint, source=str(path), say=say)
        except InputError as error:
            raise TrainingFault(f"step {self.run.state.step}: {error}") from None
        return f"back to the weights of step {checkpoint['step']}"

    def make_saver(self) -> Saver | NoSaver:
        """The first process saves; raises TrainingFault where that cannot be done."""
        if not is_first():
            return NoSaver(self.run)
        return Saver(self.run, self.run_dir / FOLDER, metrics=self.metrics, sync=self.recorder.sync, say=say)

    def close(self) -> None:
        """Let the checkpoint that is being written come to its end."""
        self.saver.close()

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
        figures |= {"train/lr": self.run.plan.learning_rate(step - 1), "train/tau": self.run.plan.tau(step - 1)}
        speed = {
            "train/images_per_second": (step - self._window_step) * trainer.batch_size / seconds,
            "train/data_wait_share": (self.batches.wait_seconds - self._window_wait) / seconds,
        }
        self._waiting.look(self.batches.wait_seconds, self.training_seconds)
        self._window_step, self._window_seconds = step, self.training_seconds
        self._window_wait = self.batches.wait_seconds
        self.metrics |= figures  # without the speed: what is in a checkpoint is the same for the same run
        self.recorder.record(step, figures | speed)
        self.progress.show(
            epoch=-(-step // self.run.plan.steps_per_epoch),
            loss=figures["train/loss"],
            feature_std=self.metrics.get("gauges/feature_std"),
        )

    def read_gauges(self) -> None:
        """Measure collapse; warn when it sets in, or stop the run where the configuration says so.

        Raises:
            Hopeless: the run collapses and `trainer.on_collapse=stop`.
        """
        gauges = from_first(lambda: read_gauges(self.run.state.online, self.gauge_images, self.run.runtime))
        values = gauges.values()
        self.metrics |= values
        self.recorder.record(self.run.state.step, values)
        verdict = gauges.verdict() if self.past_the_start() else None
        if verdict and self.run.config.trainer.on_collapse == "stop":
            self.give_up(f"{verdict}; trainer.on_collapse=warn would go on", rule="collapse")
        if verdict and not self._warned:
            say(f"warning: step {self.run.state.step}: {verdict}")
        self._warned = verdict is not None

    def compare_with_others(self, *, best: bool) -> None:
        """Raises Hopeless where the sweep's other runs did better by this step, and `trainer.stop_early` asks."""
        verdict = self.others and self.others.verdict(self.run.state.step, self.metrics[BEST_SCORE])
        if verdict:
            self.give_up(verdict, rule="median", best=best)

    def give_up(self, why: str, *, rule: str, best: bool = False) -> NoReturn:
        """Save and raise Hopeless; `best`: these are the best weights so far."""
        self.run.state.about_to_save()
        from_first(lambda: self.saver.save_and_wait(best=best))
        score = math.nan if self.score is None else self.score
        raise in_all_alike(Hopeless(f"step {self.run.state.step}: {why}", rule=rule, score=score))

    def past_the_start(self) -> bool:
        """Untrained networks give all images nearly the same features: gauges are judged after the warm-up."""
        step, plan = self.run.state.step, self.run.plan
        return step > plan.warmup_steps and (
            step >= self.run.config.trainer.gauges_every_steps or step == plan.total_steps
        )

    def take_probe(self) -> bool:
        """Measure on the selection split; returns whether this is the best so far."""
        values = {f"probe/{name}": value for name, value in self.probe(self.run.state.online.backbone).items()}
        self.run.state.online.train()
        self.recorder.record(self.run.state.step, values)
        score = next(iter(values.values()))
        self.metrics |= {**values, SCORE: score}
        best = score > self.metrics.get(BEST_SCORE, -math.inf)
        if best:
            self.metrics[BEST_SCORE] = score
        return best
