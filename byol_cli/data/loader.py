"""Batches on the device to train on: two views of each image."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from byol_cli.data.bad_images import BadImage, BadImages
from byol_cli.data.images import ArrayImages
from byol_cli.data.pieces import IMAGE_DIM, Piece, TimedPieces, join_pieces, pixels_alone, split_into_pieces
from byol_cli.data.sampler import MicroBatch, micro_batches
from byol_cli.data.sources import Subset
from byol_cli.data.substitutes import image_or_substitute
from byol_cli.data.workers import in_workers
from byol_cli.views.device import to_device
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
            InputError: an image cannot be read; where bad ones are skipped, too many.
            TrainingFault: a worker died or hangs.
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
    timeout_seconds: float,
    bad_images: BadImages,
    device: torch.device,
    mean: Tensor,
    std: Tensor,
    rank: int = 0,
    world_size: int = 1,
) -> TrainingBatches:
    """Both views of every micro batch from `start_step` to the end of the run.

    They are the same whatever `num_workers` is and wherever the run begins again: a view is drawn by the epoch and by
    its image's place in the whole set. Several processes share each batch. Images in memory are cropped on the device
    and start no workers.

    Args:
        subset: the images to train on.
        views: makes the two views.
        seed: of the run; it orders the images.
        batch_size: images a step, of all processes together.
        accumulation_steps: micro batches a step.
        start_step: counted from 0.
        total_steps: one past the last step.
        num_workers: processes that decode and crop files; 0 for none.
        timeout_seconds: without an image from any of them, after which they count as hung.
        bad_images: is told of images that cannot be read, where they are skipped.
        device: where the views are wanted.
        mean: (channels,) on the device, of values in [0, 1].
        std: the same.
        rank: of this process, from 0.
        world_size: processes.

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
            rank=rank,
            world_size=world_size,
        ):
            yield replace(batch, indices=subset.indices[batch.indices])

    images = subset.images
    if isinstance(images, ArrayImages):
        pixels = resident(images.images, device)
        crops = (_crops_in_memory(pixels, views, device, batch) for batch in batches())
    else:
        image_bytes = 2 * images.channels * views.image_size**2
        pieces = in_workers(
            partial(crops_of_files, subset, views),
            (
                replace(batch, indices=piece)
                for batch in batches()
                for piece in split_into_pieces(batch.indices, image_bytes=image_bytes)
            ),
            num_workers=num_workers,
            timeout_seconds=timeout_seconds,
            pin_memory=device.type == "cuda",
        )
        crops = pixels_alone(pieces, report=lambda _, bad: bad_images.note(bad))
    return TrainingBatches(batches=batches(), crops=crops, views=views, device=device, mean=mean, std=std)


def resident(images: Tensor, device: torch.device) -> Tensor:
    """Images in memory, on the device for good where they take at most a quarter of the memory that is free there."""
    if device.type == "cuda" and images.nbytes * 4 <= torch.cuda.mem_get_info(device)[0]:
        return images.to(device)
    return images


def crops_of_files(subset: Subset, views: TwoViews, piece: MicroBatch) -> Piece:
    """What a worker does: decode each image of a piece once and cut both its crops.

    A substitute is cropped and coloured as the image would have been in whose place it stands.

    Returns:
        uint8 (2, images, channels, image_size, image_size), and what could not be read.
    """
    crops, group, group_bytes, first, bad = [], list[Tensor](), 0, 0, dict[int, BadImage]()
    for after, index in enumerate(piece.indices.tolist(), start=1):
        image, failed = image_or_substitute(subset, index)
        bad |= failed
        group.append(image)
        group_bytes += group[-1].nbytes
        if after == len(piece.indices) or group_bytes >= GROUP_BYTES:
            crops.append(views.crops_of(group, epoch=piece.epoch, indices=piece.indices[first:after]))
            group, group_bytes, first = [], 0, after
    return Piece(torch.cat(crops, dim=IMAGE_DIM), bad)


def _crops_in_memory(pixels: Tensor, views: TwoViews, device: torch.device, batch: MicroBatch) -> Tensor:
    rows = to_device(torch.from_numpy(batch.indices), pixels.device)
    return views.crops_of_batch(pixels[rows].to(device), epoch=batch.epoch, indices=batch.indices)
