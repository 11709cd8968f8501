"""Batches of images on the device: two views of each for training, one centre crop of each for measurements."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from byol_cli.data.images import ArrayImages, ImageSet
from byol_cli.data.pieces import IMAGE_DIM, TimedPieces, join_pieces, split_into_pieces
from byol_cli.data.sampler import MicroBatch, micro_batches
from byol_cli.data.sources import Subset
from byol_cli.data.workers import in_workers
from byol_cli.views.device import to_device
from byol_cli.views.geometry import resize_short_side
from byol_cli.views.photometric import normalize
from byol_cli.views.pipeline import TwoViews

GROUP_BYTES = 8 * 2**20
"""Decoded pixels that a worker holds before it crops them: their draws are made at once, and they stay in its cache."""


class TrainingBatches(Iterator[tuple[Tensor, Tensor]]):
    """Iterates over `(view 1, view 2)` of each micro batch.

    On CUDA, copying and colouring run on a stream of their own, while the step before is still being computed; only the
    one before that is waited for, so that the device never runs out of work.
    """

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
        self._batches = batches
        self._crops = TimedPieces(crops)
        self._views = views
        self._device = device
        self._mean = mean
        self._std = std
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._step_before: torch.cuda.Event | None = None

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Views 1 and 2, float32 (batch, channels, image_size, image_size) on the device.

        Raises:
            InputError: an image cannot be read.
            TrainingFault: a worker died.
        """
        batch = next(self._batches)
        return self._make(batch) if self._stream is None else self._make_beside(self._stream, batch)

    def _make_beside(self, stream: torch.cuda.Stream, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """On a stream of its own, one step ahead and no more: views that wait to be used would fill the memory."""
        step_stream = torch.cuda.current_stream(self._device)
        if self._step_before is not None:
            self._step_before.synchronize()
        self._step_before = step_stream.record_event()
        with torch.cuda.stream(stream):
            view1, view2 = self._make(batch)
        step_stream.wait_stream(stream)
        for view in (view1, view2):
            view.record_stream(step_stream)
        return view1, view2

    def _make(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        crops = join_pieces(self._crops, num_images=len(batch.indices), device=self._device)
        return self._views.finish(crops, epoch=batch.epoch, indices=batch.indices, mean=self._mean, std=self._std)

    @property
    def wait_seconds(self) -> float:
        """Time spent in waiting for crops so far."""
        return self._crops.seconds

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
        pixels = resident(images.images, device)
        crops = in_workers(partial(_crops_in_memory, pixels, views, device), batches(), num_workers=0, pin_memory=False)
    else:
        image_bytes = 2 * images.channels * views.image_size**2
        crops = in_workers(
            partial(crops_of_files, images, views),
            (
                replace(batch, indices=piece)
                for batch in batches()
                for piece in split_into_pieces(batch.indices, image_bytes=image_bytes)
            ),
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
    image_bytes = subset.images.channels * image_size**2
    crops = in_workers(
        partial(_centre_crops, subset.images, resize, image_size),
        (piece for batch in batches for piece in split_into_pieces(batch, image_bytes=image_bytes)),
        num_workers=0 if isinstance(subset.images, ArrayImages) else num_workers,
        pin_memory=device.type == "cuda",
    )
    for batch in batches:
        pixels = join_pieces(crops, num_images=len(batch), device=device)
        yield normalize(pixels.float() / 255, mean, std)


def resident(images: Tensor, device: torch.device) -> Tensor:
    """Images in memory, on the device for good where they take at most a quarter of the memory that is free there."""
    if device.type == "cuda" and images.nbytes * 4 <= torch.cuda.mem_get_info(device)[0]:
        return images.to(device)
    return images


def crops_of_files(images: ImageSet, views: TwoViews, piece: MicroBatch) -> Tensor:
    """What a worker does: decode each image of a piece once and cut both its crops.

    Returns:
        uint8 (2, images, channels, image_size, image_size).
    """
    crops, group, group_bytes, first = [], list[Tensor](), 0, 0
    for after, index in enumerate(piece.indices.tolist(), start=1):
        group.append(images.image(index))
        group_bytes += group[-1].nbytes
        if after == len(piece.indices) or group_bytes >= GROUP_BYTES:
            crops.append(views.crops_of(group, epoch=piece.epoch, indices=piece.indices[first:after]))
            group, group_bytes, first = [], 0, after
    return torch.cat(crops, dim=IMAGE_DIM)


def _crops_in_memory(pixels: Tensor, views: TwoViews, device: torch.device, batch: MicroBatch) -> Tensor:
    rows = to_device(torch.from_numpy(batch.indices), pixels.device)
    return views.crops_of_batch(pixels[rows].to(device), epoch=batch.epoch, indices=batch.indices)


def _centre_crops(images: ImageSet, resize_to: int, image_size: int, indices: np.ndarray) -> Tensor:
    if not isinstance(images, ArrayImages):
        return torch.stack([_centre_crop(images.image(index), resize_to, image_size) for index in indices.tolist()])
    pixels = images.images[torch.from_numpy(indices)]
    if pixels.shape[-2:] == (image_size, image_size):
        return pixels
    return _centre_crop(pixels, resize_to, image_size)


def _centre_crop(images: Tensor, resize_to: int, image_size: int) -> Tensor:
    return center_crop(resize_short_side(images, resize_to), [image_size, image_size])
