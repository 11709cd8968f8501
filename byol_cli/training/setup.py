"""Everything a run needs, built and checked before the first file is written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from byol_cli.data.bad_images import BadImages
from byol_cli.data.build import build_splits
from byol_cli.data.cache import CachedImages
from byol_cli.data.centre_crops import evaluation_batches, is_missing
from byol_cli.data.images import ArrayImages
from byol_cli.data.normalization import resolve_normalization
from byol_cli.data.room import refuse_more_than_there_is
from byol_cli.data.sources import Splits, Subset
from byol_cli.data.worker_count import available_cores, remedy_for_waiting
from byol_cli.losses import LOSSES
from byol_cli.model.backbones import Backbone
from byol_cli.model.weights import load_backbone_weights
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.trainer import TrainerConfig
from byol_cli.training.loop import Loss
from byol_cli.training.plan import TrainingPlan, make_plan
from byol_cli.training.ranks import world_size
from byol_cli.training.runtime import Runtime, parameter_count, resolve_runtime
from byol_cli.training.state import TrainingState, backbone_maker, build_state, placed
from byol_cli.views.pipeline import TwoViews

MEASURED_AT_ONCE = 256  # images; no more than a training forward pass takes, so that measuring never needs more memory


@dataclass(frozen=True)
class Run:
    """A run that is ready to train: its data, networks, plan and device."""

    config: TrainConfig
    runtime: Runtime
    splits: Splits
    mean: Tensor
    std: Tensor
    views: TwoViews
    plan: TrainingPlan
    state: TrainingState
    loss: Loss
    make_backbone: Callable[[], Backbone]
    num_workers: int
    resumed_metrics: dict[str, float]

    @property
    def bad_images(self) -> BadImages:
        """Images that could not be read so far, where such are skipped."""
        return self.splits.bad_images

    @property
    def reads_files(self) -> bool:
        """Whether training images are read while it goes on; else they are in memory."""
        return not isinstance(self.splits.pretrain.images, ArrayImages)

    def remedy_for_waiting(self) -> str:
        """What to change where steps wait for images."""
        return remedy_for_waiting(
            asked=self.runtime.workers_asked_for(self.config.trainer.num_workers),
            num_workers=self.num_workers,
            cores=available_cores(),
            on_gpu=self.runtime.on_gpu,
            cached=isinstance(self.splits.pretrain.images, CachedImages),
        )

    @property
    def micro_batch_size(self) -> int:
        """Images a forward pass in one process."""
        return images_at_once(self.config.trainer)

    def evaluation_batches(self, subset: Subset) -> Iterator[Tensor]:
        """The images of `subset` in order, resized, centre-cropped and normalised, on the run's device.

        One that cannot be read, where such are skipped, is NaN.
        """
        return evaluation_batches(
            subset,
            resize=self.config.augmentation.evaluation_resize,
            image_size=self.config.augmentation.image_size,
            batch_size=min(MEASURED_AT_ONCE, self.micro_batch_size),
            num_workers=self.num_workers,
            timeout_seconds=self.config.trainer.worker_timeout_seconds,
            bad_images=self.bad_images,
            device=self.runtime.device,
            mean=self.mean,
            std=self.std,
        )

    def readable_images(self, subset: Subset) -> Tensor:
        """Those images of a small subset that can be read, `(images, channels, height, width)`, as above.

        Raises:
            InputError: they are fewer than two, which cannot be compared.
        """
        images = torch.cat(list(self.evaluation_batches(subset)))
        images = images[~is_missing(images)]
        if len(images) < 2:
            raise InputError(f"{len(images)} of {len(subset)} images to measure collapse on can be read; it takes two")
        return images

    def untrained_backbone(self) -> Backbone:
        """The online backbone as the seed initialises it, before `backbone.weights`, on the run's device."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            return placed(self.make_backbone(), self.config.trainer, device=self.runtime.device)

    def header(self) -> str:
        """What is about to be done, for the person at the terminal."""
        return "\n".join(f"{name + ':':<15}{text}" for name, text in self.facts().items())

    def facts(self) -> dict[str, str]:
        """What is about to be done, in words."""
        config, plan, splits = self.config, self.plan, self.splits
        channels, size, backbone = splits.channels, self.views.image_size, self.state.online.backbone
        trainer, optimizer = config.trainer, config.optimizer
        scaled = f" = {optimizer.lr:g} x {trainer.batch_size} / 256" if optimizer.scale_lr == "linear" else ""
        split = f" in {trainer.accumulation_steps} parts" if trainer.accumulation_steps > 1 else ""
        split += f" over {world_size()} processes" if world_size() > 1 else ""
        weights, head_weights = (
            parameter_count(backbone),
            parameter_count(self.state.online) - parameter_count(backbone),
        )
        return {
            "data": f"{len(splits.pretrain):,} images of {config.dataset.name} as {channels} x {size} x {size}",
            "backbone": f"{config.backbone.name}, {weights:,} parameters, {backbone.feature_dim} features",
            "heads": f"{head_weights:,} parameters",
            "batch": f"{trainer.batch_size} images{split}, {plan.total_steps:,} steps, {plan.num_epochs} epochs",
            "learning rate": f"{plan.peak_learning_rate:g}{scaled}, {optimizer.name}, {optimizer.schedule}, "
            f"warm-up of {plan.warmup_steps} steps",
            "tau": f"{plan.tau(0):.6g}, {config.ema.name}",
            "device": str(self.runtime),
        }


def prepare(
    config: TrainConfig,
    *,
    say: Callable[[str], None],
    checkpoint: dict[str, Any] | None = None,
    source: str = "",
    force: bool = False,
) -> Run:
    """Build the run that `config` asks for, at step 0 or where `checkpoint`, read from `source`, was saved.

    `force`: go on from the checkpoint on other images, too.

    Raises:
        InputError: whatever of the configuration does not fit the data, the machine or the checkpoint.
    """
    refuse_uneven_shares(config.trainer)
    runtime = resolve_runtime(
        device=config.trainer.device, precision=config.trainer.precision, deterministic=config.trainer.deterministic
    )
    splits = build_splits(config.dataset, timeout_seconds=config.trainer.worker_timeout_seconds, log=say)
    config.augmentation.check_channels(splits.channels)
    if world_size() > 1 and config.loss.name == "article_consistency":
        say("note: loss=article_consistency compares the images of one process alone with each other")
    plan = make_plan(config, len(splits.pretrain))
    if not runtime.on_gpu:
        refuse_views_without_room(config, channels=splits.channels)
    if checkpoint is None:
        mean, std = resolve_normalization(config.dataset, splits.pretrain)
    else:
        mean, std = checkpoint["normalization"]["mean"], checkpoint["normalization"]["std"]
    make_backbone = backbone_maker(config, in_channels=splits.channels)
    state = build_state(config, make_backbone, runtime)
    if checkpoint is not None:
        if checkpoint["data_fingerprint"] != splits.fingerprint:
            changed = f"the images of dataset={config.dataset.name} are not those the run began with"
            if not force:
                raise InputError(f"{source}: {changed} (number, names, sizes); resume_force=true goes on all the same")
            say(f"warning: {changed}")
        state.restore(checkpoint, source=source, say=say)
    elif config.backbone.weights is not None:
        load_backbone_weights(state.online.backbone, Path(config.backbone.weights))
        load_backbone_weights(state.target.backbone, Path(config.backbone.weights))
    return Run(
        config=config,
        runtime=runtime,
        splits=splits,
        mean=torch.tensor(mean, device=runtime.device),
        std=torch.tensor(std, device=runtime.device),
        views=TwoViews(
            view1=config.augmentation.view1,
            view2=config.augmentation.view2,
            image_size=config.augmentation.image_size,
            seed=config.seed,
            formulas=config.augmentation.formulas,
        ),
        plan=plan,
        state=state,
        loss=LOSSES[config.loss.name],
        make_backbone=make_backbone,
        num_workers=runtime.num_workers(
            config.trainer.num_workers,
            images=splits.pretrain.images,
            image_bytes=2 * splits.channels * config.augmentation.image_size**2,
            log=say,
        ),
        resumed_metrics=checkpoint["metrics"] if checkpoint else {},
    )


def images_at_once(trainer: TrainerConfig) -> int:
    """Images a forward pass in one process."""
    return trainer.batch_size // (trainer.accumulation_steps * world_size())


def refuse_uneven_shares(trainer: TrainerConfig) -> None:
    """Every process has as many images as the others, and enough for BatchNorm; raises InputError."""
    batch, parts = trainer.batch_size, trainer.accumulation_steps * world_size()
    what = f"trainer.batch_size={batch} over {world_size()} processes"
    what += f" and trainer.accumulation_steps={trainer.accumulation_steps}" * (trainer.accumulation_steps > 1)
    if batch % parts:
        raise InputError(f"{what} gives them uneven parts; a multiple of {parts} does not")
    if batch // parts < 2 and not trainer.sync_batchnorm:
        raise InputError(f"{what} leaves fewer than 2 images each; BatchNorm needs 2, or trainer.sync_batchnorm=true")


def refuse_views_without_room(config: TrainConfig, *, channels: int) -> None:
    """Both views of a forward pass, float32, must fit into memory; raises InputError."""
    size, batch = config.augmentation.image_size, images_at_once(config.trainer)
    refuse_more_than_there_is(
        2 * 4 * batch * channels * size**2,
        what=f"the views of {batch} images at a time (trainer.batch_size, augmentation.image_size={size})",
    )
