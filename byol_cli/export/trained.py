"""The backbone in a checkpoint, with all that is needed to use it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from byol_cli.data.imagenet_archives import refuse_to_unpack
from byol_cli.model.backbones import Backbone
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.dataset import DatasetConfig, FilesConfig, ShardsConfig, TorchvisionConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import option_fields
from byol_cli.schema.model import CustomConfig, TimmConfig
from byol_cli.schema.stored import load_stored
from byol_cli.training.checkpoint_search import FOLDER, open_checkpoint
from byol_cli.training.claimed_networks import claims_of, differences_in_words
from byol_cli.training.claims import TensorClaim
from byol_cli.training.state import backbone_maker

_PREFIX = "backbone."


@dataclass(frozen=True, eq=False)
class TrainedBackbone:
    """A checkpoint that was read.

    Attributes:
        path: its file.
        checkpoint: its content.
        config: of the run that wrote it.
        backbone: the online network's, on the CPU, in evaluation mode.
    """

    path: Path
    checkpoint: dict[str, Any]
    config: TrainConfig
    backbone: Backbone

    @property
    def dataset(self) -> DatasetConfig:
        """The run's, from its files as they are; raises InputError where they would have to be unpacked."""
        return only_read(self.config.dataset)

    @property
    def channels(self) -> int:
        """Of the images it takes."""
        return int(self.checkpoint["channels"])

    @property
    def image_size(self) -> int:
        """Pixels a side of the images it takes."""
        return self.config.augmentation.image_size

    @property
    def resize(self) -> int:
        """Pixels of an image's short side before the centre is cropped."""
        return self.config.augmentation.evaluation_resize

    @property
    def mean(self) -> list[float]:
        """One a channel, of values in [0, 1]."""
        return list(self.checkpoint["normalization"]["mean"])

    @property
    def std(self) -> list[float]:
        """The same."""
        return list(self.checkpoint["normalization"]["std"])

    @property
    def step(self) -> int:
        """Optimiser steps it was trained for."""
        return int(self.checkpoint["step"])

    @property
    def keeps_exact_size(self) -> bool:
        """Whether images of just the right size are measured as they are: those of sets that are held in memory."""
        return not isinstance(self.config.dataset, FilesConfig)

    @property
    def architecture(self) -> str:
        """The backbone's name, that of timm's model where it is one."""
        backbone = self.config.backbone
        return backbone.model if isinstance(backbone, TimmConfig) else backbone.name

    @property
    def options(self) -> dict[str, Any]:
        """What `build_backbone` takes besides the sizes of the images."""
        return option_fields(self.config.backbone, without=("weights",))

    @property
    def folder(self) -> Path:
        """The run's, or that of a file which lies elsewhere."""
        return self.path.parent.parent if self.path.parent.name == FOLDER else self.path.parent

    @property
    def results_folder(self) -> Path:
        """Where measurements are written: the run's, or one beside a file that lies elsewhere."""
        return self.folder if self.path.parent.name == FOLDER else self.path.with_name(f"{self.path.stem}.report")

    def untrained(self) -> Backbone:
        """The same network as the run's seed initialises it, in training mode; torch's generator stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return backbone_maker(self.config, in_channels=self.channels)()


def open_trained(
    path: Path, *, field: str, factory: str | None, factory_field: str, say: Callable[[str], None]
) -> TrainedBackbone:
    """Read the backbone from a run folder or a checkpoint file.

    Args:
        path: of the folder or the file.
        field: what the user called it, for messages.
        factory: of a custom backbone, named again by the user; a checkpoint never chooses code.
        factory_field: what the user names it by.
        say: is told of damaged files that were passed over.

    Raises:
        InputError: there is no good checkpoint, its code is not named, or its weights do not fit.
    """
    path, checkpoint = open_checkpoint(path, field=field, say=say)
    config = load_stored(checkpoint["config"])
    if isinstance(config.backbone, CustomConfig) and factory != config.backbone.factory:
        named = f"{factory_field}={config.backbone.factory}"
        raise InputError(f"this backbone is code of its own: name it by {named} if you trust it")
    weights = {
        name.removeprefix(_PREFIX): value for name, value in checkpoint["online"].items() if name.startswith(_PREFIX)
    }
    with torch.random.fork_rng(devices=[]):
        backbone = backbone_maker(config, in_channels=checkpoint["channels"])()
    found = {name: TensorClaim(value.dtype, tuple(value.shape)) for name, value in weights.items()}
    differences = differences_in_words(found, claims_of(backbone))
    if differences:
        raise InputError(f"{field}={path} does not fit its own backbone: {differences}")
    backbone.load_state_dict(weights)
    return TrainedBackbone(path=path, checkpoint=checkpoint, config=config, backbone=backbone.eval())


def only_read(dataset: DatasetConfig) -> DatasetConfig:
    """A checkpoint's data set, which nobody has typed: nothing is downloaded, unpacked or written for it.

    Raises:
        InputError: it would have to be unpacked or fetched.
    """
    refuse_to_unpack(dataset, remedy="only where dataset=imagenet and dataset.root are typed")
    if isinstance(dataset, TorchvisionConfig):
        return replace(dataset, download=False)
    if isinstance(dataset, ShardsConfig):
        for field, url in dataset.urls.items():
            raise InputError(f"the run's images lie at {url}: type dataset=shards dataset.{field}=... if you trust it")
        dataset = replace(dataset, shards_max_gb=0)
    return replace(dataset, cache=None) if isinstance(dataset, FilesConfig) else dataset
