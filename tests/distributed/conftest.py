"""Several processes, started as torchrun starts them, but without its own process, which takes seconds."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
Launch = Callable[..., list[str]]


def a_free_port() -> int:
    """Where nobody listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """Where nobody listens now."""
    return a_free_port()


@pytest.fixture
def launch() -> Launch:
    """Run a script of this folder in so many processes; returns what each printed to stderr."""

    def run(script: str, *words: str, processes: int, code: int = 0) -> list[str]:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(a_free_port()), "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen(
                [sys.executable, str(HERE / script), *words],
                env={
                    **os.environ,
                    **where,
                    **{name: str(number) for name in ("RANK", "LOCAL_RANK")},
                    **{name: str(processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")},
                },
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(processes)
        ]
        try:
            errors = [process.communicate(timeout=120)[1] for process in started]
        finally:
            for process in started:
                process.kill()
        assert [process.returncode for process in started] == [code] * processes, errors
        return errors

    return run
