"""Work that is spread over processes: pieces go out, tensors come back in the same order."""

import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from byol_cli.data.worker_count import PIECES_AHEAD
from byol_cli.schema.errors import InputError, TrainingFault

Piece = TypeVar("Piece")


def in_workers(
    make: Callable[[Piece], Tensor], pieces: Iterable[Piece], *, num_workers: int, pin_memory: bool
) -> Generator[Tensor, None, None]:
    """`make(piece)` for each piece, in order, ahead of time in `num_workers` processes, or right here with 0.

    The processes start at the first `next` and end with the iterator. `make` and the pieces must be picklable. Nothing
    is drawn from the global random generator.

    Raises:
        InputError: what `make` raised in a worker, with its own message.
        TrainingFault: a worker died.
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
        pin_memory=pin_memory,
        generator=torch.Generator(),
        worker_init_fn=_begin_worker,
    )
    with worker_faults():
        for made in loader:
            if isinstance(made, InputError):
                raise made
            yield made


@contextmanager
def worker_faults() -> Iterator[None]:
    """Torch's word of a dead worker becomes a TrainingFault.

    It comes from a signal handler, so that it is raised wherever the main process happens to be.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        reason = str(error).splitlines()[0]
        raise TrainingFault(
            f"{reason} (often out of memory, or of /dev/shm; fewer trainer.num_workers need less)"
        ) from error


class _Pieces(Dataset[Tensor | InputError], Generic[Piece]):
    """An InputError is handed over as a value: raised, it would come out wrapped in a worker's traceback."""

    def __init__(self, make: Callable[[Piece], Tensor]) -> None:
        self.make = make

    def __getitem__(self, piece: Piece) -> Tensor | InputError:
        try:
            return self.make(piece)
        except InputError as error:
            return error


def _begin_worker(_: int) -> None:
    """Leave signals to the main process, which saves the run and then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
