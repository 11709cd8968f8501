"""One file that holds the decoded pixels of many images; all processes read it through one memory map.

A head says what the file is; then comes a row for each image (where it begins, its height, its width), then the images'
bytes one after another, channels last.
"""

import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from byol_cli.schema.errors import InputError

_MAGIC = b"BYOLPIX1"
_HEAD = struct.Struct("<8s32sqqq")  # magic, key, number of images, channels, bytes of the whole file
_ROW = np.dtype([("start", "<i8"), ("height", "<i4"), ("width", "<i4")])


def pack(images: Sequence[Tensor]) -> Tensor:
    """Images of any sizes as the one tensor that a worker hands over: their number, their sizes, their pixels.

    Args:
        images: uint8 (channels, height, width) each.

    Returns:
        uint8 (bytes,).
    """
    sizes = np.array([len(images), *(side for image in images for side in image.shape[1:])], dtype=np.int64)
    pixels = [image.permute(1, 2, 0).flatten() for image in images]
    return torch.cat([torch.from_numpy(sizes).view(torch.uint8), *pixels])


def write_pixels(file: BinaryIO, packed: Iterable[Tensor], *, key: str, num_images: int, channels: int) -> None:
    """Fill an empty file, and see that it reaches the disk.

    Args:
        file: open for writing, at its beginning.
        packed: what `pack` made of the first images, of the next ones, and so on.
        key: SHA-256 in hexadecimal over all that the pixels depend on.
        num_images: how many images are in all of `packed`.
        channels: of every image.

    Raises:
        OSError: there is no room for them.
    """
    first_byte = file.seek(_HEAD.size + num_images * _ROW.itemsize)
    sizes = []
    for part in packed:
        values = part.numpy()
        after_sizes = 8 + 16 * int(values[:8].view(np.int64)[0])
        sizes.append(values[8:after_sizes].view(np.int64).reshape(-1, 2))
        file.write(values[after_sizes:].data)
    heights, widths = np.concatenate(sizes).T
    ends = first_byte + np.cumsum(heights * widths * channels)
    rows = np.empty(num_images, dtype=_ROW)
    rows["start"], rows["height"], rows["width"] = ends - heights * widths * channels, heights, widths
    file.seek(0)
    file.write(_HEAD.pack(_MAGIC, bytes.fromhex(key), num_images, channels, ends[-1]))
    file.write(rows.tobytes())
    file.flush()
    os.fsync(file.fileno())


def is_whole(path: Path, *, key: str) -> bool:
    """Whether the file at `path` holds these pixels and is as long as it should be; raises OSError where it is shut."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(_HEAD.size)
        size = os.fstat(file.fileno()).st_size
    if len(head) < _HEAD.size:
        return False
    magic, digest, _, _, whole_size = _HEAD.unpack(head)
    return (magic, digest, whole_size) == (_MAGIC, bytes.fromhex(key), size)


class PixelFile:
    """A whole file of pixels, to read; it is mapped when a process first asks for an image.

    Pickled, it is its path and key alone: each process makes a map of its own, and all of them share the memory.
    """

    def __init__(self, path: Path, *, key: str) -> None:
        """Take the file at `path`, which every process can open, and which was written with `key`."""
        self.path = path
        self.key = key

    def image(self, index: int) -> Tensor:
        """One image, uint8 (channels, height, width) with the strides of channels last; a copy, free to be changed.

        Raises:
            InputError: the file has gone or changed since the run began.
        """
        rows, values, channels = self._map
        start, height, width = rows[index].item()
        pixels = values[start : start + height * width * channels].copy()
        return torch.from_numpy(pixels).view(height, width, channels).permute(2, 0, 1)

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        return self.path.stat().st_size

    @cached_property
    def _map(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Each image's row, all bytes of the file, and the images' channels."""
        try:
            if not is_whole(self.path, key=self.key):
                raise InputError(f"{self.path}: the cache of decoded images has gone or changed while it was in use")
            with open(self.path, "rb") as file:
                values = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{self.path}: the cache of decoded images cannot be read: {error.strerror}") from error
        _, _, num_images, channels, _ = _HEAD.unpack(values[: _HEAD.size])
        rows = np.frombuffer(values, dtype=_ROW, count=num_images, offset=_HEAD.size)
        return rows, np.frombuffer(values, dtype=np.uint8), channels

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "key": self.key}
