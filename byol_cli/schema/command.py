"""The whole configuration of each command, and the rules that span groups."""

from dataclasses import dataclass
from typing import Literal

from byol_cli.schema.augmentation import AugmentationConfig
from byol_cli.schema.constraints import Count, NumWorkers, Seed
from byol_cli.schema.dataset import DATASETS, DatasetConfig, FilesConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.evaluation import EvaluationConfig
from byol_cli.schema.model import BACKBONES, BackboneConfig, EmaConfig, HeadConfig, LossConfig
from byol_cli.schema.optimizer import OPTIMIZERS, OptimizerConfig
from byol_cli.schema.trainer import TrainerConfig, check_checkpoint, check_device

# Groups whose options differ in their fields: the option's `name` picks the dataclass.
OPTIONS: dict[type, dict[str, type]] = {
    DatasetConfig: {**DATASETS},
    BackboneConfig: {**BACKBONES},
    OptimizerConfig: {**OPTIMIZERS},
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """`byol-train`; `name` is the folder below outputs/ that the run is put in."""

    name: str
    seed: Seed
    resume: str | None
    resume_force: bool
    dataset: DatasetConfig
    augmentation: AugmentationConfig
    backbone: BackboneConfig
    head: HeadConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    ema: EmaConfig
    trainer: TrainerConfig
    evaluation: EvaluationConfig

    def __post_init__(self) -> None:
        warmup, epochs = self.optimizer.warmup_epochs, self.trainer.epochs
        if warmup is not None and self.trainer.steps is None and warmup >= epochs:
            raise InputError(
                f"optimizer.warmup_epochs={warmup:g} must be below trainer.epochs={epochs}; "
                "or give optimizer.warmup_fraction (with optimizer.warmup_epochs=null)"
            )
        dataset, resize = self.dataset, self.augmentation.evaluation_resize
        if isinstance(dataset, FilesConfig) and dataset.cache and dataset.cache_short_side < resize:
            raise InputError(
                f"dataset.cache_short_side={dataset.cache_short_side} must not be below "
                f"augmentation.evaluation_resize={resize}, to which cached images would have to be enlarged"
            )


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """`byol-eval`; `dataset` is null for the data set of the checkpoint's own run."""

    checkpoint: str
    dataset: DatasetConfig | None
    backbone_factory: str | None
    device: str
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    batch_size: Count
    num_workers: NumWorkers | None
    feature_cache: bool
    seed: Seed
    tsne: bool
    evaluation: EvaluationConfig

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)
        check_device(self.device)
