"""Mean and standard deviation of each channel, in units of [0, 1]."""

import numpy as np

from byol_cli.data.bad_images import readable
from byol_cli.data.evenly_spaced import evenly_spaced
from byol_cli.data.sources import Subset
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.errors import InputError

MAX_IMAGES_MEASURED = 1024
MIN_STD = 1 / 255

# ImageNet: as in DeepMind's code. The others: measured over their training images.
NORMALIZATIONS: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
    "stl10": ([0.4467, 0.4398, 0.4066], [0.2603, 0.2566, 0.2713]),
}


def resolve_normalization(config: DatasetConfig, pretrain: Subset) -> tuple[list[float], list[float]]:
    """Mean and standard deviation, one of each a channel, that `dataset.normalization` asks for.

    Raises:
        InputError: they are for another number of channels than the images have, or an image cannot be read.
    """
    channels = pretrain.images.channels
    if config.normalization == "none":
        return [0.0] * channels, [1.0] * channels
    if config.normalization == "auto":
        return measure_normalization(pretrain)
    if config.normalization == "fixed":
        mean, std = list(config.mean or ()), list(config.std or ())
    else:
        mean, std = NORMALIZATIONS[config.normalization]
    if not len(mean) == len(std) == channels:
        raise InputError(
            f"dataset.normalization={config.normalization} is for {len(mean)} channels, the images have {channels}; "
            "dataset.normalization=auto measures them"
        )
    return list(mean), list(std)


def measure_normalization(subset: Subset) -> tuple[list[float], list[float]]:
    """Measured on at most 1,024 images, evenly spread; each image counts the same whatever its size, as its views will.

    The standard deviation is at least 1 / 255, so that a constant channel can be divided by it.

    Raises:
        InputError: an image cannot be read; where bad ones are skipped, none can.
    """
    images = subset.images
    sample = subset.indices[evenly_spaced(len(subset), at_most=MAX_IMAGES_MEASURED)]
    means, squares = [], []
    for image in readable(images.image, sample, skips_bad=images.skips_bad):
        pixels = image.numpy()
        means.append(pixels.mean(axis=(1, 2), dtype=np.float64) / 255)
        squares.append(np.square(pixels, dtype=np.uint16).mean(axis=(1, 2), dtype=np.float64) / 255**2)
    mean = np.mean(means, axis=0)
    std = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, MIN_STD**2))
    return mean.tolist(), std.tolist()
