"""Ctrl-C, SIGTERM, SIGUSR1 (SLURM's warning) and a closed terminal end a run with nothing lost.

A second Ctrl-C ends it at once.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType, TracebackType
from typing import Any

from byol_cli.data.signals import SIGNALS

LEFT_AT_ONCE = 130


class Interrupted(BaseException):
    """The process was asked to stop. No Exception, so that nothing on the way takes it for a failure."""


_LEFT_IGNORED = {"SIGHUP", "SIGINT"}  # by nohup and in the background; a batch script shields torchrun from SIGUSR1


def _ignored_on_purpose(number: signal.Signals) -> bool:
    return number.name in _LEFT_IGNORED and signal.getsignal(number) == signal.SIG_IGN


class StopRequest:
    """Takes the signals while this context is entered.

    Where nothing can be lost, the first one raises Interrupted on the spot. While training changes the state it only
    makes `requested` true, so that the step is finished and saved: see `finishing`.
    """

    def __init__(self, *, program: str, when_left: str = "") -> None:
        """Not requested yet.

        Args:
            program: the command's name, for what a second Ctrl-C prints.
            when_left: what that is worth saying besides.
        """
        self.requested = False
        self._named = {"program": program, "when_left": when_left}
        self._last_words = "; ".join(filter(None, [f"\n{program}: left at once", when_left])).encode() + b"\n"
        self._finishing = False
        self._then: Callable[[], None] | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __reduce__(self) -> tuple[Callable[[], "StopRequest"], tuple[()]]:
        """In another process it takes that one's signals."""
        return partial(StopRequest, **self._named), ()

    def check(self) -> None:
        """Raise Interrupted where a stop is requested."""
        if self.requested:
            raise Interrupted

    @contextmanager
    def finishing(self, *, then: Callable[[], None] | None = None) -> Iterator[None]:
        """In here the first signal does not raise, but calls `then`; afterwards `check` raises."""
        self.check()
        self._finishing, self._then = True, then
        try:
            yield
        finally:
            self._finishing, self._then = False, None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:  # clearing up and saving are under way, which another Interrupted would tear
            if number == signal.SIGINT:
                self._leave_at_once()
            return
        self.requested = True
        if self._then is not None:
            self._then()
        if not self._finishing:
            raise Interrupted

    def _leave_at_once(self) -> None:
        """No clearing up, which might be what takes so long."""
        with suppress(OSError):  # nobody may be reading any more
            os.write(2, self._last_words)
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(LEFT_AT_ONCE)

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            taken = [number for number in SIGNALS if not _ignored_on_purpose(number)]
            self._previous = {number: signal.signal(number, self._note) for number in taken}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
