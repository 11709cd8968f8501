"""byol-cli as its own command composes and prepares it."""

from collections.abc import Sequence

from byol_cli.cli.command import CommandLine
from byol_cli.cli.presets import with_preset
from byol_cli.cli.sweep_plan import refuse_sweep
from byol_cli.schema.command import TrainConfig
from byol_cli.training.setup import Run, prepare

RESNET18 = (
    "dataset=synthetic",
    "dataset.image_size=32",
    "augmentation=byol_32",
    "backbone=resnet18",
    "backbone.small_images=true",
)
"""For images of 32 px in memory."""

RESNET50 = ("dataset=synthetic", "augmentation=byol", "backbone=resnet50")
"""For images of 224 px in memory."""


def configured(words: Sequence[str]) -> TrainConfig:
    """The configuration of `byol-train` with these words; raises InputError."""
    line = CommandLine(words, config_name="train", complete=with_preset)
    refuse_sweep(line.words)
    return line.load(TrainConfig, line.words)


def prepared(words: Sequence[str]) -> Run:
    """The run that `byol-train` with these words would begin; raises InputError."""
    return prepare(configured(words), say=lambda _: None)
