"""From a data set's configuration to the splits of a run."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

from byol_cli.data.bad_images import BadImages
from byol_cli.data.cache import cached
from byol_cli.data.digits import read_digits
from byol_cli.data.image_folder import read_image_folder
from byol_cli.data.imagenet import read_imagenet
from byol_cli.data.images import FileImages, ImageSet
from byol_cli.data.shards import read_shards
from byol_cli.data.sources import Sources, Splits, Subset
from byol_cli.data.splits import Split, hold_out
from byol_cli.data.synthetic import read_synthetic
from byol_cli.data.torchvision_sets import read_cifar10, read_cifar100, read_stl10
from byol_cli.schema.dataset import DatasetConfig, FilesConfig

# Each takes the dataclass that has the same key in byol_cli.schema.dataset.DATASETS.
DATASETS: dict[str, Callable[[Any], Sources]] = {
    "digits": read_digits,
    "image_folder": read_image_folder,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "stl10": read_stl10,
    "imagenet": read_imagenet,
    "shards": read_shards,
    "synthetic": read_synthetic,
}


def build_splits(
    config: DatasetConfig, *, channels: int | None = None, timeout_seconds: float, log: Callable[[str], None]
) -> Splits:
    """Read a data set and hold the selection split out of its training images.

    Args:
        config: the data set's options.
        channels: what every image is converted to, before `dataset.channels`; None leaves that to the option.
        timeout_seconds: without an image from a worker that decodes for the cache, after which it counts as hung.
        log: is told in one line what was taken as labels, and how many images are in each split; also of the cache.

    Raises:
        InputError: the data is missing, damaged or does not fit the configuration.
    """
    sources = DATASETS[config.name](config)
    origin = sources.origin
    if config.labels == "none":
        sources = sources.change(lambda images: images.without_labels())
        origin = "no labels (dataset.labels=none)"
    bad_images = BadImages(
        num_images=sources.num_images,
        max_share=config.max_bad_images if isinstance(config, FilesConfig) else 0,
        say=log,
    )
    wanted = channels or config.channels
    if wanted is not None:
        sources = sources.change(lambda images: images.with_channels(wanted))
    if isinstance(config, FilesConfig) and config.cache is not None:
        sources = sources.change(
            partial(_cached, config=config, bad_images=bad_images, timeout_seconds=timeout_seconds, log=log)
        )
    splits = _split(sources, config, bad_images)
    test = f"{len(splits.test):,} for the test" if splits.test is not None else "no test images"
    log(
        f"{config.name}: {origin}; {len(splits.pretrain):,} images to train on, {len(splits.selection):,} held out "
        f"for selection, {test} (dataset.split_seed={config.split_seed})"
    )
    return splits


def _cached(images: ImageSet, *, config: FilesConfig, **how: Any) -> ImageSet:
    return cached(images, config, **how) if isinstance(images, FileImages) else images


def _split(sources: Sources, config: DatasetConfig, bad_images: BadImages) -> Splits:
    rest, selection = hold_out(
        sources.labelled, config.selection_fraction, seed=config.split_seed, split=Split.SELECTION
    )
    pretrain = rest if sources.pretrain.images is sources.labelled.images else sources.pretrain
    train = rest.labelled()
    test = None if sources.test is None else sources.test.labelled()
    return Splits(
        pretrain=pretrain,
        train=train,
        selection=selection,
        test=test,
        class_names=_class_names(sources),
        fingerprint=_fingerprint([pretrain, train, selection, test]),
        channels=pretrain.images.channels,
        bad_images=bad_images,
    )


def _class_names(sources: Sources) -> tuple[str, ...]:
    """Those of the labels; test images may be the only ones that have any."""
    has_labels = [part.images for part in (sources.labelled, sources.test) if part is not None and part.has_labels]
    return has_labels[0].class_names if has_labels else ()


def _fingerprint(parts: list[Subset | None]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if part is None:
            continue
        digest.update(part.images.fingerprint.encode())
        digest.update(part.indices.data)
        if part.labels is not None:
            digest.update(part.labels.data)
    return digest.hexdigest()
