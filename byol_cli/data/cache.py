"""dataset.cache: files that are decoded once, and read from then on as pixels."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from byol_cli.data.cache_build import found_or_built_in_memory, found_or_built_on_disk
from byol_cli.data.decode import to_channels
from byol_cli.data.images import FileImages
from byol_cli.data.pixel_file import PixelFile
from byol_cli.schema.dataset import FilesConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedImages:
    """Images of files, decoded before.

    Attributes:
        files: what they are called, and their labels.
        pixels: where they are read.
        channels: what they are converted to.
    """

    files: FileImages
    pixels: PixelFile
    channels: int

    def __len__(self) -> int:
        """Number of images in the set."""
        return len(self.files)

    @property
    def labels(self) -> np.ndarray | None:
        """int64 (images,), each image's place in `class_names`, -1 for none; None where the set has no labels."""
        return self.files.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """Empty where the set has no labels."""
        return self.files.class_names

    def name(self, index: int) -> str:
        """What people call the image."""
        return self.files.name(index)

    def image(self, index: int) -> Tensor:
        """One image, uint8 (channels, height, width); raises InputError where the cache has gone."""
        return to_channels(self.pixels.image(index), self.channels)

    def with_channels(self, channels: int) -> "CachedImages":
        """The same images, converted to `channels` from now on."""
        return replace(self, channels=channels)

    def without_labels(self) -> "CachedImages":
        """The same images, their labels forgotten."""
        return replace(self, files=self.files.without_labels())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over files, short side and channels, in hexadecimal; the same on disk as in memory."""
        return hashlib.sha256(f"{self.pixels.key} {self.channels}".encode()).hexdigest()


def cached(images: FileImages, config: FilesConfig, *, log: Callable[[str], None]) -> CachedImages:
    """The same images from the cache that `config` asks for; it is built where it is not there yet.

    Args:
        images: the files.
        config: has `cache`, `cache_dir` and `cache_short_side`.
        log: is told in one line what is about to be decoded, and in one what was built or found.

    Raises:
        InputError: an image cannot be read, the cache cannot be written, or there is no room for it.
        TrainingFault: a worker died.
    """
    make = found_or_built_in_memory if config.cache == "ram" else found_or_built_on_disk
    return CachedImages(files=images, pixels=make(images, config, log=log), channels=images.channels)
