"""Batches on the device to compare: both views of each image, in order."""

from collections.abc import Generator
from functools import partial

import torch
from torch import Tensor

from byol_cli.data.bad_images import BadImages
from byol_cli.data.images import ArrayImages
from byol_cli.data.loader import crops_of_files
from byol_cli.data.pieces import join_pieces, pixels_alone, split_into_pieces
from byol_cli.data.sampler import MicroBatch
from byol_cli.data.sources import Subset
from byol_cli.data.workers import TRAINER, in_workers
from byol_cli.views.pipeline import TwoViews


def view_pairs(
    subset: Subset,
    *,
    views: TwoViews,
    batch_size: int,
    num_workers: int,
    timeout_seconds: float,
    bad_images: BadImages,
    device: torch.device,
    mean: Tensor,
    std: Tensor,
    group: str = TRAINER,
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The views of the first epoch, `batch_size` images at a time; the last batch may be smaller.

    In place of an image that cannot be read, where such are skipped, there is another one.

    Args:
        subset: the images.
        views: makes the two views.
        batch_size: images a batch.
        num_workers: processes that decode and crop files; 0 for none, as for images in memory.
        timeout_seconds: without an image from any of them, after which they count as hung.
        bad_images: is told of images that cannot be read, where they are skipped.
        device: where the views are wanted.
        mean: (channels,) on the device, of values in [0, 1].
        std: the same.
        group: of the settings that messages about workers name.

    Yields:
        Views 1 and 2, float32 (batch, channels, image_size, image_size), normalised, on the device.

    Raises:
        InputError: an image cannot be read; where bad ones are skipped, too many.
        TrainingFault: a worker died or hangs.
    """
    batches = [subset.indices[start : start + batch_size] for start in range(0, len(subset), batch_size)]
    images = subset.images
    if isinstance(images, ArrayImages):
        crops = (
            views.crops_of_batch(images.images[torch.from_numpy(batch)].to(device), epoch=0, indices=batch)
            for batch in batches
        )
    else:
        image_bytes = 2 * images.channels * views.image_size**2
        pieces = in_workers(
            partial(crops_of_files, subset, views),
            (
                MicroBatch(0, 0, piece)
                for batch in batches
                for piece in split_into_pieces(batch, image_bytes=image_bytes)
            ),
            num_workers=num_workers,
            timeout_seconds=timeout_seconds,
            pin_memory=device.type == "cuda",
            group=group,
        )
        crops = pixels_alone(pieces, report=lambda _, bad: bad_images.note(bad))
    for batch in batches:
        pixels = join_pieces(crops, num_images=len(batch), device=device)
        yield views.finish(pixels, epoch=0, indices=batch, mean=mean, std=std)
