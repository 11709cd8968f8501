"""A batch is made in pieces, so that all workers share in it and little of it waits in shared memory."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from byol_cli.data.bad_images import BadImage
from byol_cli.data.worker_count import PIECE_BYTES
from byol_cli.views.device import to_device

MAX_IMAGES_IN_A_PIECE = 64

IMAGE_DIM = -4
"""Pieces are joined along the images: (..., images, channels, height, width)."""


class Piece(NamedTuple):
    """What a worker hands over: pixels, and why images could not be read, by their places in the whole set."""

    pixels: Tensor
    bad: dict[int, BadImage]


def pixels_alone(
    pieces: Generator[Piece, None, None], *, report: Callable[[int, BadImage], None]
) -> Generator[Tensor, None, None]:
    """The pixels of `pieces`; each bad image is reported, by its place and with the reason, before they come."""
    with closing(pieces):
        for piece in pieces:
            for index, bad in piece.bad.items():
                report(index, bad)
            yield piece.pixels


class TimedPieces(Iterator[Tensor]):
    """Pieces as they come; `seconds` is the time spent in waiting for them."""

    def __init__(self, pieces: Generator[Tensor, None, None]) -> None:
        """`pieces` may be made in other processes."""
        self.seconds = 0.0
        self._pieces = pieces

    def __next__(self) -> Tensor:
        """The next piece."""
        started = time.perf_counter()
        try:
            return next(self._pieces)
        finally:
            self.seconds += time.perf_counter() - started

    def close(self) -> None:
        """End whatever makes them."""
        self._pieces.close()


def split_into_pieces(indices: np.ndarray, *, image_bytes: int) -> list[np.ndarray]:
    """Split a batch's `indices`; an image takes `image_bytes` where it is handed over."""
    size = min(MAX_IMAGES_IN_A_PIECE, max(1, PIECE_BYTES // image_bytes))
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def join_pieces(pieces: Iterator[Tensor], *, num_images: int, device: torch.device) -> Tensor:
    """The next batch of `num_images`, joined on the device.

    Each piece goes to its place as soon as it comes, which frees the shared memory that it came in.
    """
    first = next(pieces)
    length = first.shape[IMAGE_DIM]
    if length == num_images:
        return to_device(first, device)
    shape = (*first.shape[:IMAGE_DIM], num_images, *first.shape[IMAGE_DIM + 1 :])
    joined = torch.empty(shape, dtype=first.dtype, device=device)
    for place, piece in zip(joined.split(length, dim=IMAGE_DIM), chain([first], pieces), strict=False):
        place.copy_(piece, non_blocking=device.type == "cuda")
    return joined
