"""Work that is spread over processes: pieces go out, what is made of them comes back in the same order."""

import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from byol_cli.data.signals import SIGNALS
from byol_cli.data.worker_count import PIECES_AHEAD
from byol_cli.data.worker_processes import ended_in_the_end, started
from byol_cli.schema.errors import InputError, TrainingFault

Piece = TypeVar("Piece")
Made = TypeVar("Made")

TRAINER = "trainer."


def in_workers(
    make: Callable[[Piece], Made],
    pieces: Iterable[Piece],
    *,
    num_workers: int,
    timeout_seconds: float,
    pin_memory: bool,
    group: str = TRAINER,
) -> Generator[Made, None, None]:
    """`make(piece)` for each piece, in order, ahead of time in `num_workers` processes, or right here with 0.

    The processes start at the first `next` and end with the iterator. `make` and the pieces must be picklable, and what
    is made consists of tensors and plain values. Nothing is drawn from the global random generator.
    `group` stands before the settings that messages name.

    Raises:
        InputError: what `make` raised in a worker, with its own message.
        TrainingFault: a worker died, could not be started, or no worker gave anything for `timeout_seconds`.
    """
    if num_workers == 0:
        yield from map(make, pieces)
        return
    loader = DataLoader(
        _Pieces(make),
        batch_size=None,
        sampler=pieces,
        num_workers=num_workers,
        prefetch_factor=PIECES_AHEAD,
        timeout=timeout_seconds,
        pin_memory=pin_memory,
        generator=torch.Generator(),
        worker_init_fn=_begin_worker,
    )
    with worker_faults(num_workers=num_workers, group=group):
        running, workers = started(loader, group=group)
        with ended_in_the_end(workers):
            try:
                for made in running:
                    if isinstance(made, InputError):
                        raise made
                    yield made
            finally:
                del running  # which tells them that there is nothing left to do


@contextmanager
def worker_faults(*, num_workers: int, group: str = TRAINER) -> Iterator[None]:
    """Torch's word of a dead or hung worker, one of `num_workers`, becomes a TrainingFault; `group` as above.

    That of a dead one comes from a signal handler, so that it is raised wherever the main process happens to be.
    """
    fewer = f"{group}num_workers={num_workers // 2}"
    try:
        yield
    except RuntimeError as error:
        words = str(error).splitlines()[0] if str(error) else ""
        if words.startswith("DataLoader worker"):
            raise TrainingFault(
                f"{words.rstrip('. ')}: often it is out of memory, or of /dev/shm; "
                f"{fewer} in place of {num_workers} needs less"
            ) from error
        if words.startswith("DataLoader timed out after"):
            waited = float(words.split()[4])
            longer = f"{TRAINER}worker_timeout_seconds={2 * waited:g} waits longer, and " if group == TRAINER else ""
            raise TrainingFault(
                f"none of the {num_workers} processes that read images gave one for {waited:g} s: perhaps the storage "
                f"hangs; where it is only slow, {longer}{fewer} asks less of it at a time"
            ) from error
        raise


class _Pieces(Dataset[Made | InputError], Generic[Piece, Made]):
    """An InputError is handed over as a value: raised, it would come out wrapped in a worker's traceback."""

    def __init__(self, make: Callable[[Piece], Made]) -> None:
        self.make = make

    def __getitem__(self, piece: Piece) -> Made | InputError:
        try:
            return self.make(piece)
        except InputError as error:
            return error


def _begin_worker(_: int) -> None:
    """Leave signals to the main process, which saves the run and then ends its workers."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
