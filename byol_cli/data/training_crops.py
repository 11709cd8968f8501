"""Batches on the device to train a classifier on: one random crop, perhaps flipped, of each image, and which it is."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from byol_cli.data.bad_images import BadImage, BadImages
from byol_cli.data.images import ArrayImages, ImageSet, image_or_reason
from byol_cli.data.loader import resident
from byol_cli.data.pieces import Piece, join_pieces, pixels_alone, split_into_pieces
from byol_cli.data.sampler import MicroBatch
from byol_cli.data.sources import Subset
from byol_cli.data.workers import TRAINER, in_workers
from byol_cli.views.crop_flip import CropFlip
from byol_cli.views.device import to_device


@dataclass(frozen=True, eq=False)
class Crops:
    """Some images of a batch that can be read.

    Attributes:
        images: float32 (images, channels, image_size, image_size), normalised, on the device.
        positions: int64 (images,), their places in the part of the data set that was asked for.
    """

    images: Tensor
    positions: np.ndarray


def training_crops(
    subset: Subset,
    batches: Iterable[MicroBatch],
    *,
    crop_flip: CropFlip,
    num_workers: int,
    timeout_seconds: float,
    bad_images: BadImages,
    device: torch.device,
    mean: Tensor,
    std: Tensor,
    group: str = TRAINER,
) -> Generator[Crops, None, None]:
    """What `batches` name, one after another; an image that cannot be read, where such are skipped, is left out.

    Args:
        subset: the images.
        batches: their indices are positions in `subset`; it is iterated over twice, so it is no iterator.
        crop_flip: makes the crops, drawn by the epoch and by the image's place in the whole set.
        num_workers: processes that decode and crop files; 0 for none, as for images in memory.
        timeout_seconds: without an image from any of them, after which they count as hung.
        bad_images: is told of images that cannot be read, where they are skipped.
        device: where the crops are wanted.
        mean: (channels,) on the device, of values in [0, 1].
        std: the same.
        group: of the settings that messages about workers name.

    Raises:
        InputError: an image cannot be read; where bad ones are skipped, too many.
        TrainingFault: a worker died or hangs.
    """
    missing: list[int] = []

    def report(index: int, bad: BadImage) -> None:
        missing.append(index)
        bad_images.note(bad)

    with closing(_pixels(subset, batches, crop_flip, report, device, num_workers, timeout_seconds, group)) as pixels:
        for batch in batches:
            indices = subset.indices[batch.indices]
            crops = join_pieces(pixels, num_images=len(indices), device=device)
            images = crop_flip.finish(crops, epoch=batch.epoch, indices=indices, mean=mean, std=std)
            readable = np.flatnonzero(~np.isin(indices, missing))
            if len(readable) < len(indices):
                images = images[to_device(torch.from_numpy(readable), device)]
            yield Crops(images, batch.indices[readable])


def _pixels(
    subset: Subset,
    batches: Iterable[MicroBatch],
    crop_flip: CropFlip,
    report: Callable[[int, BadImage], None],
    device: torch.device,
    num_workers: int,
    timeout_seconds: float,
    group: str,
) -> Generator[Tensor, None, None]:
    """uint8 crops in the order of `batches`, in pieces, as a generator that ends its workers."""
    in_whole_set = (replace(batch, indices=subset.indices[batch.indices]) for batch in batches)
    if isinstance(subset.images, ArrayImages):
        pixels = resident(subset.images.images, device)
        return (_crops_in_memory(pixels, crop_flip, device, batch) for batch in in_whole_set)
    image_bytes = subset.images.channels * crop_flip.image_size**2
    pieces = in_workers(
        partial(_crops_of_files, subset.images, crop_flip),
        (
            replace(batch, indices=piece)
            for batch in in_whole_set
            for piece in split_into_pieces(batch.indices, image_bytes=image_bytes)
        ),
        num_workers=num_workers,
        timeout_seconds=timeout_seconds,
        pin_memory=device.type == "cuda",
        group=group,
    )
    return pixels_alone(pieces, report=report)


def _crops_in_memory(pixels: Tensor, crop_flip: CropFlip, device: torch.device, batch: MicroBatch) -> Tensor:
    rows = to_device(torch.from_numpy(batch.indices), pixels.device)
    return crop_flip.crops_of_batch(pixels[rows].to(device), epoch=batch.epoch, indices=batch.indices)


def _crops_of_files(images: ImageSet, crop_flip: CropFlip, piece: MicroBatch) -> Piece:
    """What a worker does, one decoded image in memory at a time; an image that cannot be read comes out black."""
    size = crop_flip.image_size
    crops = torch.zeros(len(piece.indices), images.channels, size, size, dtype=torch.uint8)
    bad: dict[int, BadImage] = {}
    for place, index in enumerate(piece.indices.tolist()):
        image = image_or_reason(images, index)
        if isinstance(image, BadImage):
            bad[index] = image
        else:
            indices = piece.indices[place : place + 1]
            crops[place] = crop_flip.crops_of([image], epoch=piece.epoch, indices=indices)[0]
    return Piece(crops, bad)
