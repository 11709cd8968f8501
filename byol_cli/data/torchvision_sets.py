"""CIFAR-10, CIFAR-100 (Krizhevsky 2009) and STL-10 (Coates et al. 2011), read by torchvision and kept in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100, STL10

from byol_cli.data.images import ArrayImages
from byol_cli.data.labels import describe
from byol_cli.data.missing_folders import MissingFolders
from byol_cli.data.sources import Sources, whole
from byol_cli.schema.dataset import TorchvisionConfig
from byol_cli.schema.errors import InputError

T = TypeVar("T")

STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def read_cifar10(config: TorchvisionConfig) -> Sources:
    """50,000 training and 10,000 test images of 32 x 32 pixels; raises InputError where they are not to be had."""
    return _read_cifar(CIFAR10, "CIFAR-10", config)


def read_cifar100(config: TorchvisionConfig) -> Sources:
    """The same with 100 classes; raises InputError where they are not to be had."""
    return _read_cifar(CIFAR100, "CIFAR-100", config)


def read_stl10(config: TorchvisionConfig) -> Sources:
    """100,000 unlabelled, 5,000 training and 8,000 test images of 96 x 96 pixels.

    As the set's authors intend, pre-training sees the unlabelled images.

    Raises:
        InputError: they are not to be had.
    """

    def part(split: str) -> ArrayImages:
        dataset = STL10(root_of(config), split=split, download=config.download)
        labelled = split != "unlabeled"
        return ArrayImages(
            images=torch.from_numpy(np.ascontiguousarray(dataset.data)),
            labels=np.asarray(dataset.labels, dtype=np.int64) if labelled else None,
            class_names=STL10_CLASSES if labelled else (),
            title=f"stl10/{split}",
        )

    unlabelled, train, test = _fetched(
        lambda: (part("unlabeled"), part("train"), part("test")), "STL-10", config, folder=STL10.base_folder
    )
    return Sources(
        pretrain=whole(unlabelled),
        labelled=whole(train),
        test=whole(test),
        origin=f"{describe(STL10_CLASSES)} of STL-10",
    )


def _read_cifar(reader: type[CIFAR10], title: str, config: TorchvisionConfig) -> Sources:
    def part(train: bool) -> ArrayImages:
        dataset = reader(root_of(config), train=train, download=config.download)
        return ArrayImages(
            images=torch.from_numpy(np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2))),
            labels=np.asarray(dataset.targets, dtype=np.int64),
            class_names=tuple(dataset.classes),
            title=f"{config.name}/{'train' if train else 'test'}",
        )

    train, test = _fetched(lambda: (part(True), part(False)), title, config, folder=reader.base_folder)
    images = whole(train)
    return Sources(
        pretrain=images, labelled=images, test=whole(test), origin=f"{describe(train.class_names)} of {title}"
    )


def root_of(config: TorchvisionConfig) -> Path:
    """The folder that holds the set, or is to hold it."""
    return Path(config.root).expanduser()


def _fetched(read: Callable[[], T], title: str, config: TorchvisionConfig, *, folder: str) -> T:
    """What `read` returns; what torchvision and the network raise becomes one line."""
    missing = MissingFolders(root_of(config))
    try:
        return read()
    except (RuntimeError, OSError, EOFError) as error:
        if config.download:
            missing.remove_empty()
            reason = " ".join(str(error).split())
            raise InputError(f"dataset.root={config.root}: fetching {title} failed: {reason}") from error
        state = "is damaged" if (root_of(config) / folder).is_dir() else "is not there"
        raise InputError(f"dataset.root={config.root}: {title} {state}; dataset.download=true fetches it") from error
