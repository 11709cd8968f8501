"""Contenders take turns: each in a process of its own, one at work while the others sleep on a pipe.

One process for all would let the memory allocator and the threads of one contender slow down or speed up another.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

PRELOADED = ["byol_cli.training.setup", "byol_cli.cli.train"]
"""Imported once, in the process that all contenders are forked from; nothing is computed in it."""

Turn = Callable[[], None]


class Over(Exception):
    """There are no more rounds."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Something whose speed is measured.

    `work(turn, **settings)` gets ready, then calls `turn()` before each round, which lasts until it calls it again and
    gets `units` (images) done. `turn()` raises `Over` after the last round.
    """

    key: str
    title: str
    work: Callable[..., None]
    units: int
    settings: dict[str, Any] = field(default_factory=dict)
    ours: bool = False


def repeat(turn: Turn, step: Callable[[], object], *, steps: int) -> None:
    """Rounds of `steps` calls of `step`."""
    while True:
        turn()
        for _ in range(steps):
            step()


def seconds_by_turns(
    contenders: Sequence[Contender], *, rounds: int, threads: int | None = None
) -> Iterator[list[float]]:
    """What a round takes each contender, for each of `rounds`; a warm-up round goes before them.

    `threads` is how many each computes with; None: as many as torch takes by itself.

    Raises:
        ChildProcessError: a contender failed; its process has printed why.
    """
    with ExitStack() as stack:
        seats = [stack.enter_context(_seat(contender, threads)) for contender in contenders]
        for number in range(rounds + 1):
            seconds = [take_turn() for take_turn in seats]
            if number:
                yield seconds


@contextmanager
def _seat(contender: Contender, threads: int | None) -> Iterator[Callable[[], float]]:
    """A contender in its process, ready; the function that it gives lets it do one round and returns the seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, contender, threads), daemon=True)
    process.start()
    there.close()

    def answer() -> float:
        try:
            return here.recv()
        except EOFError:
            raise ChildProcessError(f"{contender.title}: failed") from None

    def take_turn() -> float:
        here.send(True)
        return answer()

    answer()
    yield take_turn
    here.send(False)
    process.join()


def _serve(connection: Connection, contender: Contender, threads: int | None) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the command, and the command ends its processes
    if threads is not None:
        torch.set_num_threads(threads)
    began = time.perf_counter()

    def turn() -> None:
        nonlocal began
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # the next contender needs the memory
        connection.send(seconds)
        if not connection.recv():
            raise Over
        began = time.perf_counter()

    with suppress(Over):
        contender.work(turn, **contender.settings)
