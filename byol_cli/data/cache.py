"""dataset.cache: files that are decoded once, and read from then on as pixels."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from byol_cli.data.bad_images import BadImage, BadImages
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

    @property
    def skips_bad(self) -> bool:
        """Whether a run goes on without images that could not be read."""
        return self.files.skips_bad

    def name(self, index: int) -> str:
        """What people call the image."""
        return self.files.name(index)

    def image(self, index: int) -> Tensor:
        """One image, uint8 (channels, height, width).

        Raises:
            BadImage: it could not be read when the cache was built.
            InputError: the cache has gone.
        """
        pixels = self.pixels.image(index)
        if not pixels.numel():
            raise BadImage(
                self.files.paths[index], f"the image could not be read when the cache {self.pixels.path} was built"
            )
        return to_channels(pixels, self.channels)

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


def cached(
    images: FileImages,
    config: FilesConfig,
    *,
    bad_images: BadImages,
    timeout_seconds: float,
    log: Callable[[str], None],
) -> CachedImages:
    """The same images from the cache that `config` asks for; it is built where it is not there yet.

    Args:
        images: the files.
        config: has `cache`, `cache_dir` and `cache_short_side`.
        bad_images: is told of those that cannot be read, where they are skipped; their place stays empty.
        timeout_seconds: without an image from a worker, after which it counts as hung.
        log: is told in one line what is about to be decoded, and in one what was built or found.

    Raises:
        InputError: an image cannot be read, the cache cannot be written, or there is no room for it.
        TrainingFault: a worker died or hangs.
    """
    make = found_or_built_in_memory if config.cache == "ram" else found_or_built_on_disk
    pixels = make(images, config, bad_images=bad_images, timeout_seconds=timeout_seconds, log=log)
    return CachedImages(files=images, pixels=pixels, channels=images.channels)
