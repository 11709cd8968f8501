"""What an image set is, and two kinds: an array in memory, or files that are decoded when they are asked for."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from torch import Tensor

from byol_cli.data.bad_images import BadImage
from byol_cli.data.decode import decode_data, to_channels


class ImageSet(Protocol):
    """Images of one channel count, numbered from 0: in memory, in files, or in a cache."""

    @property
    def channels(self) -> int:
        """Of every image."""

    @property
    def labels(self) -> np.ndarray | None:
        """int64 (images,), each image's place in `class_names`, -1 for none; None where the set has no labels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Empty where the set has no labels."""

    @property
    def skips_bad(self) -> bool:
        """Whether a run goes on without images that cannot be read."""

    def __len__(self) -> int:
        """Number of images in the set."""

    def name(self, index: int) -> str:
        """What people call the image."""

    def image(self, index: int) -> Tensor:
        """One image, uint8 (channels, height, width); raises BadImage where it cannot be read."""

    def with_channels(self, channels: int) -> "ImageSet":
        """The same images in `channels`."""

    def without_labels(self) -> "ImageSet":
        """The same images, their labels forgotten."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal that tells one set of pixels from another."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayImages:
    """Images in memory.

    Attributes:
        images: uint8 (images, channels, height, width).
        labels: int64 (images,), each image's place in `class_names`, -1 for none; None where the set has no labels.
        class_names: empty where the set has no labels.
        title: what an image's name begins with.
    """

    images: Tensor
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    title: str = "image"

    def __len__(self) -> int:
        """Number of images in the set."""
        return len(self.images)

    @property
    def channels(self) -> int:
        """The images' channel count."""
        return self.images.shape[1]

    @property
    def skips_bad(self) -> bool:
        """There are none in memory."""
        return False

    def name(self, index: int) -> str:
        """What people call the image."""
        return f"{self.title}/{index}"

    def image(self, index: int) -> Tensor:
        """One image, uint8 (channels, height, width)."""
        return self.images[index]

    def with_channels(self, channels: int) -> "ArrayImages":
        """The same images in gray (1) or in red, green and blue (3); raises InputError where there is no conversion."""
        return replace(self, images=to_channels(self.images, channels))

    def without_labels(self) -> "ArrayImages":
        """The same images, their labels forgotten."""
        return replace(self, labels=None, class_names=())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape and pixels, in hexadecimal."""
        digest = hashlib.sha256(f"{tuple(self.images.shape)}".encode())
        digest.update(self.images.contiguous().numpy().data)
        return digest.hexdigest()


class Files(Protocol):
    """Encoded images, numbered from 0: a file each, or within shards."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> str:
        """Where the image lies, for messages."""

    def name(self, index: int) -> str:
        """What people call the image."""

    def read(self, index: int) -> bytearray:
        """The encoded image; raises BadImage where it cannot be read."""

    def facts(self, *, skips_bad: bool) -> Iterator[bytes | memoryview]:
        """What tells these images from others; raises BadImage where one has gone and is not to be skipped."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FileImages:
    """Images that are decoded when they are asked for.

    Attributes:
        paths: where they lie.
        channels: what they are decoded to.
        labels: int64 (images,), each image's place in `class_names`, -1 for none; None where the set has no labels.
        class_names: empty where the set has no labels.
        skips_bad: whether a run goes on without images that cannot be read.
    """

    paths: Files
    channels: int
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    skips_bad: bool

    def __len__(self) -> int:
        """Number of images in the set."""
        return len(self.paths)

    def name(self, index: int) -> str:
        """What people call the image."""
        return self.paths.name(index)

    def image(self, index: int) -> Tensor:
        """One image, uint8 (channels, height, width); raises BadImage where its file cannot be read."""
        return decode_data(self.paths.read(index), self.channels, path=self.paths[index])

    def with_channels(self, channels: int) -> "FileImages":
        """The same images, decoded to `channels` from now on."""
        return replace(self, channels=channels)

    def without_labels(self) -> "FileImages":
        """The same images, their labels forgotten."""
        return replace(self, labels=None, class_names=())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over channels, count and what tells these files from others, in hexadecimal.

        Whether bad images are skipped does not count.

        Raises:
            BadImage: a file has gone or is locked, and is not to be skipped.
        """
        digest = hashlib.sha256(f"{len(self)} {self.channels}".encode())
        for fact in self.paths.facts(skips_bad=self.skips_bad):
            digest.update(fact)
        return digest.hexdigest()


def image_or_reason(images: ImageSet, index: int) -> Tensor | BadImage:
    """One image, uint8 (channels, height, width), or why it cannot be read; raised where bad ones are not skipped."""
    try:
        return images.image(index)
    except BadImage as bad:
        if not images.skips_bad:
            raise
        return bad
