"""Operations on a batch, in place, that cost only the samples they touch.

The samples are picked on the CPU and only their numbers are sent to the images' device, without waiting for it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from byol_cli.views.device import to_device

Operation = Callable[..., None]
"""Takes images (touched, channels, height, width), which it changes in place, and their amounts."""


def change_(images: Tensor, touched: Tensor, operation_: Operation, *amounts: Tensor) -> None:
    """Let `operation_(those images, *their amounts)` change the touched images.

    Args:
        images: (batch, channels, height, width) on any device.
        touched: bool (batch,) on the CPU.
        operation_: changes images in place.
        amounts: (batch,) each, on the CPU.
    """
    picked = touched.nonzero().squeeze(1)
    if not len(picked):
        return
    theirs = [to_device(amount[picked], images.device) for amount in amounts]
    if len(picked) == len(images):
        operation_(images, *theirs)
        return
    rows = to_device(picked, images.device)
    chosen = images.index_select(0, rows)
    operation_(chosen, *theirs)
    images.index_copy_(0, rows, chosen)


def change_in_order_(images: Tensor, turns: Tensor, operations: Sequence[Operation], amounts: Sequence[Tensor]) -> None:
    """Let several operations change the images, in an order that differs from sample to sample.

    For each turn the whole batch is sorted by operation, which then changes its samples where they lie; that takes
    half the time of picking them and putting them back.

    Args:
        images: (batch, channels, height, width) on any device.
        turns: int64 (batch, turns) on the CPU, the number of each turn's operation; `len(operations)` is none.
        operations: each changes images in place.
        amounts: (batch,) of each operation, on the CPU.
    """
    none = len(operations)
    busy = turns.T[(turns != none).any(dim=0)]
    if not len(busy):
        return
    in_order = torch.arange(len(images))
    arranged, lying, spare = images.clone(), in_order, torch.empty_like(images)
    for turn in busy:
        wanted = turn.argsort(stable=True)
        arranged, spare = _rearrange(arranged, lying, wanted, out=spare), arranged
        lying = wanted
        counts = turn.bincount(minlength=none + 1).tolist()
        parts = zip(operations, amounts, arranged.split(counts), wanted.split(counts), strict=False)
        for operation_, amount, part, samples in parts:
            if len(part):
                operation_(part, to_device(amount[samples], images.device))
    _rearrange(arranged, lying, in_order, out=images)


def _rearrange(images: Tensor, lying: Tensor, wanted: Tensor, *, out: Tensor) -> Tensor:
    """Sort images of the samples `lying` into those `wanted`."""
    rows = to_device(lying.argsort()[wanted], images.device)
    return torch.index_select(images, 0, rows, out=out)
