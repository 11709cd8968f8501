"""A signal to a sweep reaches the jobs that run in other processes, each of which saves what it has."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from byol_cli.cli.folders import LOCK, holder_of
from byol_cli.training.interrupt import StopRequest

_MARK = ".stop"
_PROCESS = re.compile(r"process (\d+) on (.+)")


def is_stopped(sweep_dir: Path) -> bool:
    """Whether no further job of this sweep shall begin."""
    return (sweep_dir / _MARK).exists()


@contextmanager
def stopping_jobs(sweep_dir: Path, stop: StopRequest) -> Iterator[None]:
    """In here the first signal asks the jobs below `sweep_dir` to save and stop, instead of ending this process.

    Those of this machine are told at once; on others, jobs that have not begun see that they shall not.
    """
    (sweep_dir / _MARK).unlink(missing_ok=True)

    def ask() -> None:
        with suppress(OSError):  # a full disk: those that run are asked all the same
            (sweep_dir / _MARK).touch()
        for lock in sweep_dir.glob(f"*/{LOCK}"):
            found = _PROCESS.fullmatch(holder_of(lock.parent) or "")
            if found and found[2] == socket.gethostname() and int(found[1]) != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(int(found[1]), signal.SIGTERM)

    with stop.finishing(then=ask):
        try:
            yield
        finally:
            (sweep_dir / _MARK).unlink(missing_ok=True)
