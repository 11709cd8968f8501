"""A whole training run in its folder."""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from byol_cli.data.loader import TrainingBatches, training_batches
from byol_cli.data.substitutes import image_or_substitute
from byol_cli.data.workers import worker_faults
from byol_cli.schema.errors import TrainingFault
from byol_cli.training.compilation import compile_networks
from byol_cli.training.console import Progress, say
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.loop import train
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.outside import OutsideRecorders
from byol_cli.training.pictures import save_curves, save_views, view_grid
from byol_cli.training.ranks import is_first, rank, together, world_size
from byol_cli.training.recorder import METRICS, NoRecorder, Recorder, read_metrics, tolerated
from byol_cli.training.setup import Run
from byol_cli.training.watch import Probe, Watch

GAUGE_IMAGES = 256
PICTURE_IMAGES = 8


@dataclass(frozen=True)
class TrainingResult:
    """What training came to in this process: its rate, and the newest value of the online probe."""

    images_per_second: float | None
    selection_score: float | None


def pretrain(
    run: Run, run_dir: Path, *, probe: Probe, stop: StopRequest, outside: OutsideRecorders | None = None
) -> TrainingResult:
    """Train `run` in `run_dir` to its end, or until `stop` is requested.

    `probe(backbone)` measures on the selection split, its first value ranks; `outside` gets all figures, too.

    Raises:
        TrainingFault: training cannot go on.
        Interrupted: `stop` was requested before the first step.
    """
    trainer = run.config.trainer
    if is_first():
        run.bad_images.keep_in(run_dir / "bad_images.txt")
    with (
        ExitStack() as until_all_is_closed,
        closing(together(lambda: begin_record(run, run_dir, outside))) as recorder,
        closing(batches_of(run)) as batches,
        worker_faults(num_workers=run.num_workers),
    ):
        if is_first():
            show_views(run, run_dir, recorder)
        if trainer.compile:
            compile_networks(run, say=say)
        guard = NonfiniteGuard(run.state, skips=trainer.on_nonfinite == "skip", device=run.runtime.device)
        gauge_images = together(lambda: held_out_images(run) if is_first() else torch.empty(0))  # it reads the gauges
        until_all_is_closed.enter_context(stop.finishing())
        try:
            with (
                Progress(
                    total_images=run.plan.total_steps * trainer.batch_size,
                    done_images=run.state.step * trainer.batch_size,
                    num_epochs=run.plan.num_epochs,
                ) as progress,
                closing(
                    Watch(
                        run,
                        run_dir,
                        probe=probe,
                        gauge_images=gauge_images,
                        recorder=recorder,
                        batches=batches,
                        progress=progress,
                        guard=guard,
                        stop=stop,
                    )
                ) as watch,
            ):
                train(
                    run.state, batches, plan=run.plan, runtime=run.runtime, loss=run.loss, guard=guard, after_step=watch
                )
        finally:
            if is_first():
                with tolerated(run_dir / "curves.png", say=say):
                    save_curves(run_dir / "curves.png", read_metrics(run_dir / METRICS))
    return TrainingResult(images_per_second=watch.images_per_second, selection_score=watch.score)


def begin_record(run: Run, run_dir: Path, outside: OutsideRecorders | None) -> Recorder | NoRecorder:
    """The run's figures, from its present step on; raises TrainingFault where they cannot be written."""
    if not is_first():
        return NoRecorder()
    try:
        return Recorder(run_dir, start_step=run.state.step, say=say, outside=outside)
    except OSError as error:
        raise TrainingFault(f"{run_dir} cannot be written to: {error.strerror}") from None


def batches_of(run: Run, **others: Any) -> TrainingBatches:
    """Both views of each batch from the run's present step on; `others` stand in place of what the run says."""
    trainer = run.config.trainer
    settings: dict[str, Any] = {
        "seed": run.config.seed,
        "batch_size": trainer.batch_size,
        "accumulation_steps": trainer.accumulation_steps,
        "start_step": run.state.step,
        "total_steps": run.plan.total_steps,
        "num_workers": run.num_workers,
        "timeout_seconds": trainer.worker_timeout_seconds,
        "bad_images": run.bad_images,
        "device": run.runtime.device,
        "mean": run.mean,
        "std": run.std,
        "rank": rank(),
        "world_size": world_size(),
    }
    return training_batches(run.splits.pretrain, run.views, **settings | others)


def show_views(run: Run, run_dir: Path, recorder: Recorder | NoRecorder) -> None:
    """views.png before the first step: to see at once whether the images are what they should be."""
    grid = picture_of_views(run)
    with tolerated(run_dir / "views.png", say=say):
        save_views(run_dir / "views.png", grid)
    recorder.picture("views", grid)


def held_out_images(run: Run) -> Tensor:
    """The fixed batch that collapse is measured on: the first selection images, or training images."""
    subset = run.splits.selection if len(run.splits.selection) > 1 else run.splits.pretrain
    return run.readable_images(subset.take(np.arange(min(GAUGE_IMAGES, len(subset)))))


def picture_of_views(run: Run) -> Tensor:
    """Both views of the first images of epoch 0, as one picture."""
    subset = run.splits.pretrain
    indices = subset.indices[:PICTURE_IMAGES]
    images = [image_or_substitute(subset, index)[0] for index in indices.tolist()]
    crops = run.views.crops_of(images, epoch=0, indices=indices)
    view1, view2 = run.views.finish(crops.to(run.runtime.device), epoch=0, indices=indices, mean=run.mean, std=run.std)
    return view_grid(view1, view2, mean=run.mean, std=run.std)
