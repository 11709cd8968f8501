"""Batches on the device to measure on: the centre of each image."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from byol_cli.data.bad_images import BadImage, BadImages
from byol_cli.data.images import ArrayImages, ImageSet, image_or_reason
from byol_cli.data.pieces import Piece, join_pieces, pixels_alone, split_into_pieces
from byol_cli.data.sources import Subset
from byol_cli.data.workers import TRAINER, in_workers
from byol_cli.views.device import to_device
from byol_cli.views.geometry import resize_short_side
from byol_cli.views.photometric import normalize


def evaluation_batches(
    subset: Subset,
    *,
    resize: int,
    image_size: int,
    batch_size: int,
    num_workers: int,
    timeout_seconds: float,
    bad_images: BadImages,
    device: torch.device,
    mean: Tensor,
    std: Tensor,
    group: str = TRAINER,
) -> Iterator[Tensor]:
    """The centre of every image, in order: the short side resized (bicubic, antialiased), then cropped to a square.

    Images in memory that are `image_size` large already stay as they are, and start no workers.

    Args:
        subset: the images.
        resize: pixels of the short side before the crop.
        image_size: pixels a side after it.
        batch_size: images a batch; the last may be smaller.
        num_workers: processes that decode files; 0 for none.
        timeout_seconds: without an image from any of them, after which they count as hung.
        bad_images: is told of images that cannot be read, where they are skipped.
        device: where the images are wanted.
        mean: (channels,) on the device, of values in [0, 1].
        std: the same.
        group: stands before `num_workers` where that is set, for messages.

    Yields:
        float32 (batch, channels, image_size, image_size), normalised, on the device; of an image that cannot be read,
        where such are skipped, all values are NaN: see `is_missing`.

    Raises:
        InputError: an image cannot be read; where bad ones are skipped, too many.
        TrainingFault: a worker died or hangs.
    """
    missing: list[int] = []

    def report(index: int, bad: BadImage) -> None:
        missing.append(index)
        bad_images.note(bad)

    batches = [subset.indices[start : start + batch_size] for start in range(0, len(subset), batch_size)]
    image_bytes = subset.images.channels * image_size**2
    pieces = in_workers(
        partial(_centre_crops, subset.images, resize, image_size),
        (piece for batch in batches for piece in split_into_pieces(batch, image_bytes=image_bytes)),
        num_workers=0 if isinstance(subset.images, ArrayImages) else num_workers,
        timeout_seconds=timeout_seconds,
        pin_memory=device.type == "cuda",
        group=group,
    )
    crops = pixels_alone(pieces, report=report)
    for batch in batches:
        pixels = join_pieces(crops, num_images=len(batch), device=device)
        images = normalize(pixels.float() / 255, mean, std)
        if missing:
            images[to_device(torch.from_numpy(np.isin(batch, missing)), device)] = torch.nan
        yield images


def is_missing(images: Tensor) -> Tensor:
    """Which of a batch that `evaluation_batches` gave could not be read: bool (batch,) on its device."""
    return images[:, 0, 0, 0].isnan()


def _centre_crops(images: ImageSet, resize_to: int, image_size: int, indices: np.ndarray) -> Piece:
    """What a worker does; an image that cannot be read comes out black."""
    if isinstance(images, ArrayImages):
        pixels = images.images[torch.from_numpy(indices)]
        whole = pixels.shape[-2:] == (image_size, image_size)
        return Piece(pixels if whole else _centre_crop(pixels, resize_to, image_size), {})
    crops = torch.zeros(len(indices), images.channels, image_size, image_size, dtype=torch.uint8)
    bad: dict[int, BadImage] = {}
    for crop, index in zip(crops, indices.tolist(), strict=True):
        image = image_or_reason(images, index)
        if isinstance(image, BadImage):
            bad[index] = image
        else:
            crop.copy_(_centre_crop(image, resize_to, image_size))
    return Piece(crops, bad)


def _centre_crop(images: Tensor, resize_to: int, image_size: int) -> Tensor:
    return center_crop(resize_short_side(images, resize_to), [image_size, image_size])
