"""A whole training run in its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from byol_cli.data.loader import training_batches
from byol_cli.data.workers import worker_faults
from byol_cli.schema.errors import TrainingFault
from byol_cli.training.compilation import compile_networks
from byol_cli.training.console import Progress, say
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.loop import train
from byol_cli.training.pictures import save_curves, save_views, view_grid
from byol_cli.training.recorder import Recorder, read_metrics
from byol_cli.training.setup import Run
from byol_cli.training.watch import Probe, Watch

GAUGE_IMAGES = 256
PICTURE_IMAGES = 8


@dataclass(frozen=True)
class TrainingResult:
    """How a run's training ended, its rate in this process, and the newest value of the online probe."""

    status: Literal["done", "interrupted"]
    images_per_second: float | None
    selection_score: float | None


def pretrain(run: Run, run_dir: Path, *, probe: Probe) -> TrainingResult:
    """Train `run` to its end in `run_dir`; `probe(backbone)` measures on the selection split, its first value ranks.

    Raises:
        TrainingFault: training cannot go on.
    """
    recorder = Recorder(run_dir, start_step=run.state.step)
    grid = picture_of_views(run)
    save_views(run_dir / "views.png", grid)
    recorder.picture("views", grid)
    trainer = run.config.trainer
    batches = training_batches(
        run.splits.pretrain,
        run.views,
        seed=run.config.seed,
        batch_size=trainer.batch_size,
        accumulation_steps=trainer.accumulation_steps,
        start_step=run.state.step,
        total_steps=run.plan.total_steps,
        num_workers=run.num_workers,
        device=run.runtime.device,
        mean=run.mean,
        std=run.std,
    )
    try:
        with worker_faults(), StopRequest() as stop:
            if trainer.compile:
                compile_networks(run, say=say)
            with Progress(
                total_images=run.plan.total_steps * trainer.batch_size,
                done_images=run.state.step * trainer.batch_size,
                num_epochs=run.plan.num_epochs,
            ) as progress:
                watch = Watch(
                    run,
                    run_dir,
                    probe=probe,
                    gauge_images=held_out_images(run),
                    recorder=recorder,
                    batches=batches,
                    progress=progress,
                    stop=stop,
                )
                train(run.state, batches, plan=run.plan, runtime=run.runtime, loss=run.loss, after_step=watch)
    except torch.OutOfMemoryError as error:
        raise TrainingFault(f"out of memory on {run.runtime.device}; raise trainer.accumulation_steps") from error
    finally:
        batches.close()
        recorder.close()
        save_curves(run_dir / "curves.png", read_metrics(recorder.path))
    status: Literal["done", "interrupted"] = "done" if run.state.step == run.plan.total_steps else "interrupted"
    return TrainingResult(status=status, images_per_second=watch.images_per_second, selection_score=watch.score)


def held_out_images(run: Run) -> Tensor:
    """The fixed batch that collapse is measured on: the first selection images, or training images."""
    subset = run.splits.selection if len(run.splits.selection) > 1 else run.splits.pretrain
    return torch.cat(list(run.evaluation_batches(subset.take(np.arange(min(GAUGE_IMAGES, len(subset)))))))


def picture_of_views(run: Run) -> Tensor:
    """Both views of the first images of epoch 0, as one picture."""
    subset = run.splits.pretrain
    indices = subset.indices[:PICTURE_IMAGES]
    crops = run.views.crops_of([subset.images.image(index) for index in indices.tolist()], epoch=0, indices=indices)
    view1, view2 = run.views.finish(crops.to(run.runtime.device), epoch=0, indices=indices, mean=run.mean, std=run.std)
    return view_grid(view1, view2, mean=run.mean, std=run.std)
