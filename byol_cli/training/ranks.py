"""The processes of one job, as torchrun starts them: who is who, and how they come to the same decisions.

Alone, everything in here does what one process would do. Torch is imported where there are several.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from byol_cli.schema.errors import InputError, TrainingFault
from byol_cli.training.interrupt import Interrupted

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

STARTED_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LONGEST_WAIT = timedelta(days=7)  # the others wait while the first one measures; one that dies is noticed at once
# torch's words where another process has gone.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out", "NCCL", "ncclUnhandled")

_SECONDS_TO_SPEAK = 3
_IN_ALL = "in_all_processes"

_control: "list[ProcessGroup]" = []  # of this job, once joined


def world_size() -> int:
    """Processes of the job."""
    return int(os.environ["WORLD_SIZE"]) if _is_one_of_several() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return int(os.environ["RANK"]) if _is_one_of_several() else 0


def local_rank() -> int:
    """Its number among those on this machine."""
    return int(os.environ["LOCAL_RANK"]) if _is_one_of_several() else 0


def local_world_size() -> int:
    """How many of them are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if _is_one_of_several() else 1


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def _is_one_of_several() -> bool:
    return all(os.environ.get(name) for name in STARTED_BY_TORCHRUN) and os.environ["WORLD_SIZE"] != "1"


@contextmanager
def joined() -> Iterator[None]:
    """In here the processes can talk to each other."""
    if world_size() == 1:
        yield
        return
    import torch
    from torch import distributed

    from byol_cli.training.rendezvous import fresh_store

    with lost_ranks():
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=fresh_store(rank=rank(), world_size=world_size()),
            rank=rank(),
            world_size=world_size(),
        )
        group: Any = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
        _control.append(group)
    try:
        yield
        with suppress(TrainingFault):  # who has gone needs no more time
            together(lambda: None)  # torchrun ends all where one ends by 75, even while the first one is still writing
    finally:
        _control.clear()
        distributed.destroy_process_group()


@contextmanager
def lost_ranks() -> Iterator[None]:
    """Where another process has gone, what torch says of it becomes a TrainingFault."""
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not any(words in str(error) for words in _LOST):
            raise
        raise TrainingFault("another process of this job has ended or cannot be reached") from error


def from_first(make: Callable[[], T]) -> T:
    """What `make()` returns, or raises of the two errors, in the first process: the same in all of them."""
    if world_size() == 1:
        return make()
    from torch import distributed

    message: list[Any] = [_attempt(make) if is_first() else None]
    with lost_ranks():
        distributed.broadcast_object_list(message, src=0, group=_control[0])
    made, error = message[0]
    if error is not None:
        raise in_all_alike(error)
    return made


def together(make: Callable[[], T]) -> T:
    """`make()` in each process; where it is refused in one, it is in all."""
    if world_size() == 1:
        return make()
    made, error = _attempt(make)
    for number, first_error in enumerate(gathered(error)):
        if first_error is not None:
            if number:
                first_error.args = (f"process {number} of {world_size()}: {first_error}",)
            raise in_all_alike(first_error)
    return made


def first_of_each_machine_before_others(make: Callable[[], T]) -> T:
    """`together`, but what the first process of a machine has put on its disk is there for the others."""
    made: list[T] = []
    for ahead in (True, False):
        together(lambda ahead=ahead: made.append(make()) if (local_rank() == 0) == ahead else None)  # type: ignore[misc]
    return made[0]


def gathered(value: T) -> list[T]:
    """The `value` of every process, by rank."""
    if world_size() == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * world_size()
    with lost_ranks():
        distributed.all_gather_object(values, value, group=_control[0])
    return values


def any_of_us(*flags: bool) -> Sequence[bool]:
    """Which of `flags` are true in at least one process."""
    if world_size() == 1:
        return flags
    import torch
    from torch import distributed

    asked = torch.tensor(flags, dtype=torch.uint8)
    with lost_ranks():
        distributed.all_reduce(asked, distributed.ReduceOp.MAX, group=_control[0])
    return [bool(flag) for flag in asked]


def in_all_alike(error: E) -> E:
    """`error` that every process comes to; the first one alone has words for it."""
    known = copy(error)
    known.__dict__[_IN_ALL] = True
    if not is_first():
        known.args = ("",)
    return known


def let_first_speak() -> None:
    """Refused before it has joined the others, a process gives the first one time to say why: torchrun ends all."""
    if not is_first():
        with suppress(Interrupted):
            time.sleep(_SECONDS_TO_SPEAK)


def end_after_first(error: Exception, finish: Callable[[], object]) -> None:
    """The first process does `finish`; the others wait for it where all end by `error`."""
    if is_first():
        finish()
    if error.__dict__.get(_IN_ALL):
        together(lambda: None)


def _attempt(make: Callable[[], T]) -> tuple[Any, BaseException | None]:
    try:
        return make(), None
    except (InputError, TrainingFault, Interrupted) as error:
        return None, error
