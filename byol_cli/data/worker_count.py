"""How many processes read images: by the processor cores that this process may use, and by the room in /dev/shm."""

import math
import os
from collections.abc import Callable
from pathlib import Path

PIECE_BYTES = 4 * 2**20
"""A worker hands over about this much at a time: large enough that handing over costs nothing, small enough for all
workers to share in the first batch."""

PIECES_AHEAD = 2
"""Pieces that each worker makes before they are wanted."""

MAX_WORKERS = 32
MORE_SHARED_MEMORY = "in a container, --shm-size=1g or --ipc=host gives more"
_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_SHARED_MEMORY = "/dev/shm"


def available_cores() -> int:
    """Cores that this process may use: as many as it is bound to, or as its container's quota pays for."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _CGROUP_LIMIT.read_text().split() if _CGROUP_LIMIT.is_file() else ("max", "1")
    return bound if quota == "max" else max(1, min(bound, math.ceil(int(quota) / int(period))))


def default_num_workers(cores: int, *, on_gpu: bool) -> int:
    """All cores but one feed a GPU; a network on the CPU keeps most cores to itself.

    On two or three cores that is all of them: the network's threads wait for each other, so that a worker which takes
    one of their cores holds up both.
    """
    return min(MAX_WORKERS, max(1, cores - 1) if on_gpu else cores // 4)


def workers_that_fit(num_workers: int, *, image_bytes: int, log: Callable[[str], None]) -> int:
    """As many of `num_workers` as /dev/shm, through which they hand over their pieces, has room for.

    Containers have little of it by default (64 MB), and a worker that finds none is killed by the kernel. Where the
    number becomes smaller, `log` is told why and what would help.

    Args:
        num_workers: processes wanted; those of a measurement may run beside as many that wait with training images.
        image_bytes: what an image takes when it is handed over.
        log: prints one line.
    """
    if num_workers == 0 or not os.path.isdir(_SHARED_MEMORY):
        return num_workers
    status = os.statvfs(_SHARED_MEMORY)
    free = status.f_bavail * status.f_frsize
    fit = min(num_workers, free // (2 * (PIECES_AHEAD + 1) * max(PIECE_BYTES, image_bytes)))
    if fit < num_workers:
        log(
            f"{_SHARED_MEMORY} has {free / 2**20:,.0f} MB free: {fit} processes read images instead of {num_workers} "
            f"({MORE_SHARED_MEMORY})"
        )
    return fit


def remedy_for_waiting(*, asked: int, num_workers: int, cores: int, on_gpu: bool, cached: bool) -> str:
    """What a run whose steps wait for images should change; `num_workers` processes read them, `asked` were to."""
    wanted = default_num_workers(cores, on_gpu=on_gpu)
    if num_workers < asked:
        return f"{_SHARED_MEMORY} has no room for more than {num_workers} processes; {MORE_SHARED_MEMORY}"
    if num_workers < wanted:
        return f"trainer.num_workers={wanted} reads with {wanted} processes instead of {num_workers}"
    if not cached:
        return "a run with dataset.cache=disk or dataset.cache=ram decodes each image once instead of every epoch"
    return f"{cores} cores cut out views too slowly; more cores, or a smaller dataset.cache_short_side, would help"
