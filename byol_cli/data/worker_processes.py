"""Starts worker processes so that no signal reaches them, and sees that none outlives its work."""

import atexit
import multiprocessing
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader

from byol_cli.data.signals import SIGNALS
from byol_cli.schema.errors import TrainingFault

SECONDS_TO_DIE = 5

_running: set[BaseProcess] = set()


def started(loader: DataLoader[Any], *, group: str) -> tuple[Iterator[Any], set[BaseProcess]]:
    """A pass through `loader` and the workers that it starts, to whom the SIGNALS are blocked from their first moment.

    `group` stands before `num_workers` where that is set, for messages.

    Raises:
        TrainingFault: the system refuses another process.
    """
    others = set(multiprocessing.active_children())
    try:
        with _signals_blocked():
            running = iter(loader)
    except OSError as error:
        _kill(set(multiprocessing.active_children()) - others)
        raise TrainingFault(
            f"a process that reads images could not be started: {error.strerror}; "
            f"{group}num_workers={loader.num_workers // 2} in place of {loader.num_workers} needs less"
        ) from error
    finally:
        workers = set(multiprocessing.active_children()) - others
        _running.update(workers)
    return running, workers


@contextmanager
def ended_in_the_end(workers: Collection[BaseProcess]) -> Iterator[None]:
    """Workers that still live afterwards, because they hang or because their pass ended in an error, are killed."""
    try:
        yield
    finally:
        _kill(workers)
        _running.difference_update(workers)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Signals to this thread wait until the end of this context; a process started in it has them blocked too."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, whose processes get none
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        if multiprocessing.get_start_method() != "fork":
            resource_tracker.ensure_running()  # else it were started with the first worker, and would unblock them then
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill(workers: Collection[BaseProcess]) -> None:
    """At once, since they heed no other signal."""
    alive = [worker for worker in workers if worker.is_alive()]
    if not alive:
        return
    with _deaths_expected():
        for worker in alive:
            worker.kill()
        for worker in alive:
            worker.join(SECONDS_TO_DIE)


@contextmanager
def _deaths_expected() -> Iterator[None]:
    """Torch's handler would take the death of a worker for a fault; it is set in the main thread alone."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


@atexit.register
def _kill_all() -> None:
    """The interpreter waits for its processes; those of a pass that nobody closed would keep it waiting for ever."""
    _kill(_running)
