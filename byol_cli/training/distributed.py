"""One training in several processes, each on its part of every batch (torch.distributed, data parallel)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from inspect import signature
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from byol_cli.data.bad_images import BadImages
from byol_cli.data.sources import Subset
from byol_cli.schema.errors import TrainingFault
from byol_cli.training.ranks import gathered, in_all_alike, rank, together, world_size

POWER_SGD_START = 1000  # steps of plain gradients first, as its authors advise
_MULTIPLIER = 1_000_003
# As torch calls it from 2.14 on, and before.
_NAMES = ("forward_sync_buffers", "broadcast_buffers")
_SYNC_BUFFERS = next(name for name in _NAMES if name in signature(DistributedDataParallel).parameters)


def data_parallel(online: nn.Module, *, compression: str) -> nn.Module:
    """`online` so that its gradients are the mean over all processes; alone, `online` itself.

    Its one forward takes both views: two forwards before one backward would break DistributedDataParallel's count of
    BatchNorm's buffers. Buffers are each process's own, or the same by synchronised BatchNorm.
    """
    if world_size() == 1:
        return online
    own_buffers: dict[str, Any] = {_SYNC_BUFFERS: False}
    parallel = DistributedDataParallel(online, gradient_as_bucket_view=True, **own_buffers)
    if compression != "none":
        COMPRESSIONS[compression](parallel)
    return parallel


def _power_sgd(parallel: DistributedDataParallel) -> None:
    state = powerSGD_hook.PowerSGDState(process_group=None, start_powerSGD_iter=POWER_SGD_START)
    parallel.register_comm_hook(state, powerSGD_hook.powerSGD_hook)


COMPRESSIONS: dict[str, Callable[[DistributedDataParallel], None]] = {
    "bf16": lambda parallel: parallel.register_comm_hook(None, default_hooks.bf16_compress_hook),
    "fp16": lambda parallel: parallel.register_comm_hook(None, default_hooks.fp16_compress_hook),
    "powersgd": _power_sgd,
}


def adding_up(network: nn.Module, *, more_to_come: bool) -> AbstractContextManager:
    """Gradients are sent once per optimiser step: not while there are more parts of the batch to come."""
    parallel = isinstance(network, DistributedDataParallel)
    return network.no_sync() if parallel and more_to_come else nullcontext()  # type: ignore[operator]


def mean_of_all(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes; the device is not waited for."""
    if world_size() == 1:
        return value
    value = value.clone()
    distributed.all_reduce(value)
    return value / world_size()


def own_share(subset: Subset) -> Subset:
    """The images of `subset` that are this process's: consecutive, each image in one share, shares of all sizes."""
    return subset.take(np.array_split(np.arange(len(subset)), world_size())[rank()])


def rows_of_all(rows: Tensor, *, device: torch.device) -> Tensor:
    """The rows `(own, dim)` of all processes, in the order of their ranks, on the CPU; shares may differ in length."""
    if world_size() == 1:
        return rows
    rows = rows.to(device)
    lengths = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(world_size())]
    distributed.all_gather(lengths, torch.tensor(len(rows), device=device))
    longest = int(max(lengths))
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows
    shares = [torch.empty_like(padded) for _ in lengths]
    distributed.all_gather(shares, padded)
    return torch.cat([share[: int(length)] for share, length in zip(shares, lengths, strict=True)]).cpu()


def take_buffers_of_first(network: nn.Module) -> None:
    """Statistics of BatchNorm that is not synchronised differ; where all measure, they measure with the first one's."""
    if world_size() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, src=0)


def check_same_weights(networks: Iterable[nn.Module], *, step: int) -> None:
    """Compare a checksum of all weights.

    Raises:
        TrainingFault: they are not the same, to the bit, in all processes.
    """
    if world_size() == 1:
        return
    own = torch.stack([checksum(network.parameters()) for network in networks])
    sums = [torch.empty_like(own) for _ in range(world_size())]
    distributed.all_gather(sums, own)
    others = [number for number, theirs in enumerate(sums) if not torch.equal(theirs, sums[0])]
    if others:
        raise in_all_alike(
            TrainingFault(
                f"step {step}: the weights in process {', '.join(map(str, others))} of {world_size()} are no longer "
                "those of process 0; go on from the last checkpoint, and suspect that machine's memory or GPU"
            )
        )


def share_bad_images(bad_images: BadImages) -> None:
    """What one process could not read counts, and is listed, in all; raises InputError where that is too many."""
    if world_size() > 1:
        for bad in chain.from_iterable(gathered(bad_images.take_new())):
            together(partial(bad_images.note, bad))


def checksum(tensors: Iterable[Tensor]) -> Tensor:
    """An int64 scalar that depends on every bit of the tensors, whatever order they are summed in."""
    total: Tensor | None = None
    for tensor in tensors:
        bits = tensor.detach().contiguous().view(_INTEGERS[tensor.element_size()]).to(torch.int64).sum()
        total = bits if total is None else total * _MULTIPLIER + bits
    assert total is not None
    return total


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
