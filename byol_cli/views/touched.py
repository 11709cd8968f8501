"""Batched operations that cost only the samples they touch."""

from collections.abc import Callable

from torch import Tensor


def change_(images: Tensor, touched: Tensor, operation: Callable[..., Tensor], *amounts: Tensor) -> None:
    """Replace the touched images, in place, by `operation(those images, *their amounts)`.

    The samples are picked on the CPU and only their numbers are sent to the images' device, without waiting for it.

    Args:
        images: (batch, channels, height, width) on any device.
        touched: bool (batch,) on the CPU.
        operation: takes and returns (touched, channels, height, width).
        amounts: (batch,) each, on the CPU.
    """
    picked = touched.nonzero().squeeze(1)
    if not len(picked):
        return
    rows = picked.to(images.device, non_blocking=True)
    theirs = (amount[picked].to(images.device, non_blocking=True) for amount in amounts)
    images.index_copy_(0, rows, operation(images.index_select(0, rows), *theirs))
