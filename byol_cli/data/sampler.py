"""Which images each step sees: a pure function of (seed, step), so that a run can begin again at any step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from byol_cli.schema.errors import InputError
from byol_cli.views.counter import epoch_order


@dataclass(frozen=True)
class MicroBatch:
    """The images of one forward pass in one process: `step` and `epoch` count from 0, `indices` is int64 (images,)."""

    step: int
    epoch: int
    indices: np.ndarray


def steps_per_epoch(*, num_images: int, batch_size: int) -> int:
    """Whole batches in an epoch; the images left over are left out of that epoch.

    Raises:
        InputError: there is not one whole batch.
    """
    if num_images < batch_size:
        raise InputError(f"trainer.batch_size={batch_size} must not be above the {num_images} training images")
    return num_images // batch_size


def micro_batches(
    *,
    seed: int,
    num_images: int,
    batch_size: int,
    accumulation_steps: int,
    start_step: int,
    total_steps: int,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[MicroBatch]:
    """The micro batches of steps `start_step` to `total_steps` - 1; those of a step share its batch in order.

    The batch of a step is the same however many processes share it: each takes its part of each micro batch.

    Args:
        seed: of the run.
        num_images: how many there are to train on; indices are below it.
        batch_size: images a step, of all processes together.
        accumulation_steps: micro batches a step; times `world_size` it divides `batch_size`.
        start_step: the first step, counted from 0.
        total_steps: one past the last.
        rank: of this process, from 0.
        world_size: processes.

    Raises:
        InputError: the batch is larger than the data set.
    """
    per_epoch = steps_per_epoch(num_images=num_images, batch_size=batch_size)
    order_epoch, order = -1, np.empty(0, dtype=np.int64)
    for step in range(start_step, total_steps):
        epoch, place = divmod(step, per_epoch)
        if epoch != order_epoch:
            order_epoch, order = epoch, epoch_order(seed=seed, epoch=epoch, num_images=num_images)
        batch = order[place * batch_size : (place + 1) * batch_size]
        for part in np.split(batch, accumulation_steps):
            yield MicroBatch(step, epoch, np.split(part, world_size)[rank])
