"""Runs forked from one process that has imported everything, which spares the seconds that a start of Python takes."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PRELOADED = ["byol_cli.training.setup", "byol_cli.cli.session"]


class Forked:
    """`byol-train` in a forked process, with as much of the interface of subprocess.Popen as is used."""

    def __init__(self, words: Sequence[str], printed: Path) -> None:
        """Start it; what it prints is added to the file `printed`."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._process = context.Process(target=_run, args=(words, printed))
        self._process.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal's number where one ended it, None before that."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same, after a look."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("byol-train", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Where it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """By SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _run(words: Sequence[str], printed: Path) -> None:
    multiprocessing.set_start_method(None, force=True)  # as in a process that was started in the usual way
    descriptor = os.open(printed, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from byol_cli.cli.train import main

    sys.argv = ["byol-train", *words]
    main()
