"""Batches of images on the device: two views of each for training, one centre crop of each for measurements."""

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize

from byol_cli.data.images import ArrayImages, FileImages, ImageSet
from byol_cli.data.sampler import MicroBatch, micro_batches
from byol_cli.data.sources import Subset
from byol_cli.data.workers import in_workers
from byol_cli.views.photometric import normalize
from byol_cli.views.pipeline import TwoViews

FILES_IN_A_PIECE = 64
"""A worker's portion: small, so that all workers share the first batch, and that little memory waits in their queue."""

IMAGE_DIM = -4
"""Pieces are joined along the images: (..., images, channels, height, width)."""


def default_num_workers(cpu_count: int, on_cuda: bool) -> int:
    """Processes that decode files: all cores but one feed a GPU; a network on the CPU keeps most cores to itself.

    On two or three cores that is all of them: the network's threads wait for each other, so that a worker which takes
    one of their cores holds up both.
    """
    return min(32, max(1, cpu_count - 1) if on_cuda else cpu_count // 4)


class TrainingBatches(Iterator[tuple[Tensor, Tensor]]):
    """Iterates over `(view 1, view 2)` of each micro batch; `wait_seconds` is the time spent in waiting for crops."""

    def __init__(
        self,
        *,
        batches: Iterator[MicroBatch],
        crops: Generator[Tensor, None, None],
        views: TwoViews,
        device: torch.device,
        mean: Tensor,
        std: Tensor,
    ) -> None:
        """Join `crops`, which come in pieces and in the order of `batches`; `views` finishes them on the device."""
        self.wait_seconds = 0.0
        self._batches = batches
        self._crops = crops
        self._views = views
        self._device = device
        self._mean = mean
        self._std = std

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Views 1 and 2, float32 (batch, channels, image_size, image_size) on the device.

        Raises:
            InputError: an image cannot be read.
            TrainingFault: a worker died.
        """
        batch = next(self._batches)
        started = time.perf_counter()
        crops = _next_joined(self._crops, num_images=len(batch.indices), device=self._device)
        self.wait_seconds += time.perf_counter() - started
        return self._views.finish(crops, epoch=batch.epoch, indices=batch.indices, mean=self._mean, std=self._std)

    def close(self) -> None:
        """End the workers; there are no more batches."""
        self._crops.close()
        self._batches = iter(())


def training_batches(
    subset: Subset,
    views: TwoViews,
    *,
    seed: int,
    batch_size: int,
    accumulation_steps: int,
    start_step: int,
    total_steps: int,
    num_workers: int,
    device: torch.device,
    mean: Tensor,
    std: Tensor,
) -> TrainingBatches:
    """Both views of every micro batch from `start_step` to the end of the run.

    They are the same whatever `num_workers` is and wherever the run begins again: a view is drawn by the epoch and by
    its image's place in the whole set. Images in memory are cropped on the device and start no workers.

    Args:
        subset: the images to train on.
        views: makes the two views.
        seed: of the run; it orders the images.
        batch_size: images a step.
        accumulation_steps: micro batches a step.
        start_step: counted from 0.
        total_steps: one past the last step.
        num_workers: processes that decode and crop files; 0 for none.
        device: where the views are wanted.
        mean: (channels,) on the device, of values in [0, 1].
        std: the same.

    Raises:
        InputError: when iterated over, if the batch is larger than the data set or an image cannot be read.
    """

    def batches() -> Iterator[MicroBatch]:
        for batch in micro_batches(
            seed=seed,
            num_images=len(subset),
            batch_size=batch_size,
            accumulation_steps=accumulation_steps,
            start_step=start_step,
            total_steps=total_steps,
        ):
            yield replace(batch, indices=subset.indices[batch.indices])

    images = subset.images
    if isinstance(images, ArrayImages):
        crops = in_workers(partial(_crops_in_memory, images, views, device), batches(), num_workers=0, pin_memory=False)
    else:
        crops = in_workers(
            partial(_crops_of_files, images, views),
            (replace(batch, indices=piece) for batch in batches() for piece in _pieces(batch.indices)),
            num_workers=num_workers,
            pin_memory=device.type == "cuda",
        )
    return TrainingBatches(batches=batches(), crops=crops, views=views, device=device, mean=mean, std=std)


def evaluation_batches(
    subset: Subset,
    *,
    resize: int,
    image_size: int,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    mean: Tensor,
    std: Tensor,
) -> Iterator[Tensor]:
    """The centre of every image, in order: the short side resized (bicubic, antialiased), then cropped to a square.

    Images in memory that are `image_size` large already stay as they are, and start no workers.

    Args:
        subset: the images.
        resize: pixels of the short side before the crop.
        image_size: pixels a side after it.
        batch_size: images a batch; the last may be smaller.
        num_workers: processes that decode files; 0 for none.
        device: where the images are wanted.
        mean: (channels,) on the device, of values in [0, 1].
        std: the same.

    Yields:
        float32 (batch, channels, image_size, image_size), normalised, on the device.

    Raises:
        InputError: an image cannot be read.
        TrainingFault: a worker died.
    """
    batches = [subset.indices[start : start + batch_size] for start in range(0, len(subset), batch_size)]
    crops = in_workers(
        partial(_centre_crops, subset.images, resize, image_size),
        (piece for batch in batches for piece in _pieces(batch)),
        num_workers=0 if isinstance(subset.images, ArrayImages) else num_workers,
        pin_memory=device.type == "cuda",
    )
    for batch in batches:
        pixels = _next_joined(crops, num_images=len(batch), device=device)
        yield normalize(pixels.float() / 255, mean, std)


def _pieces(indices: np.ndarray) -> list[np.ndarray]:
    return [indices[start : start + FILES_IN_A_PIECE] for start in range(0, len(indices), FILES_IN_A_PIECE)]


def _next_joined(pieces: Iterator[Tensor], *, num_images: int, device: torch.device) -> Tensor:
    """As many pieces as make up `num_images`, joined on the device."""
    joined: list[Tensor] = []
    while num_images > 0:
        joined.append(next(pieces).to(device, non_blocking=True))
        num_images -= joined[-1].shape[IMAGE_DIM]
    return torch.cat(joined, dim=IMAGE_DIM)


def _crops_in_memory(images: ArrayImages, views: TwoViews, device: torch.device, batch: MicroBatch) -> Tensor:
    pixels = images.images[torch.from_numpy(batch.indices)].to(device)
    return views.crops_of_batch(pixels, epoch=batch.epoch, indices=batch.indices)


def _crops_of_files(images: FileImages, views: TwoViews, piece: MicroBatch) -> Tensor:
    crops = [views.crops_of(images.image(index), epoch=piece.epoch, index=index) for index in piece.indices.tolist()]
    return torch.stack(crops, dim=IMAGE_DIM)


def _centre_crops(images: ImageSet, resize_to: int, image_size: int, indices: np.ndarray) -> Tensor:
    if isinstance(images, FileImages):
        return torch.stack([_centre_crop(images.image(index), resize_to, image_size) for index in indices.tolist()])
    pixels = images.images[torch.from_numpy(indices)]
    if pixels.shape[-2:] == (image_size, image_size):
        return pixels
    return _centre_crop(pixels, resize_to, image_size)


def _centre_crop(images: Tensor, resize_to: int, image_size: int) -> Tensor:
    resized = resize(images, [resize_to], interpolation=InterpolationMode.BICUBIC, antialias=True)
    return center_crop(resized, [image_size, image_size])
