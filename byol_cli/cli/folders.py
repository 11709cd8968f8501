"""Run folders: a refused command leaves none behind, and only one process at a time writes in one."""

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from byol_cli.schema.errors import InputError

LOCK = ".lock"
_LONGEST_NAME = 400


class UnfitRun(InputError):
    """The run in this folder cannot be gone on with."""


class LockedFolder(UnfitRun):
    """Another process writes in this run folder."""


class RunLock:
    """Held by the process that writes in a run folder, while this context is entered; it ends with the process.

    The loader's workers do not inherit it. The file stays, because another process may be waiting to look at it; where
    no run was begun it is removed.
    """

    def __init__(self, run_dir: Path, *, field: str, say: Callable[[str], None]) -> None:
        """`field` names the folder in messages; `say` is told of a file system that has no locks."""
        self._path, self._run_dir, self._field, self._say = run_dir / LOCK, run_dir, field, say
        self._file: int | None = None

    def __enter__(self) -> "RunLock":
        """Raises LockedFolder where another process holds it, InputError where the folder cannot be written to."""
        try:
            import fcntl  # late: Windows has none
        except ImportError:
            return self
        while True:
            self._file = self._opened()
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                holder = _name_in(self._file)
                os.close(self._file)
                raise LockedFolder(f"{self._field}={self._run_dir} is being written by {holder}") from None
            except OSError as error:
                self._say(
                    f"warning: {self._run_dir}: its file system has no locks ({error.strerror}): "
                    "see to it that no other process writes there"
                )
            if self._is_in_place(self._file):
                break
            os.close(self._file)  # whoever held it before has removed it meanwhile
        with suppress(OSError):  # on a full disk it is held without a name in it
            os.ftruncate(self._file, 0)
            os.write(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return self

    def _opened(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)  # closed in __exit__; nothing waits in a buffer
        except OSError as error:
            raise InputError(f"{self._field}={self._run_dir} cannot be written to: {error.strerror}") from None

    def _is_in_place(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), os.stat(self._path))
        except FileNotFoundError:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            if not holds_run(self._run_dir):
                self._path.unlink(missing_ok=True)
            os.close(self._file)


def holder_of(run_dir: Path) -> str | None:
    """The other process that writes in a run folder, in words; None where none does.

    Not for a folder that this process holds: POSIX lets go of a lock when any opening of its file is closed.
    """
    try:
        import fcntl  # late: Windows has none

        file = os.open(run_dir / LOCK, os.O_RDWR)
    except (ImportError, OSError):
        return None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return _name_in(file)
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(file)
    return None


def _name_in(file: int) -> str:
    return os.read(file, _LONGEST_NAME).decode(errors="replace").strip() or "another process"


def holds_run(run_dir: Path) -> bool:
    """Whether a run was begun in this folder."""
    return (run_dir / "config.yaml").exists()


def summary_if_done(run_dir: Path) -> dict[str, Any] | None:
    """The summary of a run that has come to its end."""
    try:
        summary = json.loads((run_dir / "summary.json").read_bytes())
    except (OSError, ValueError, RecursionError):  # none yet, or damaged: the run writes it anew at its end
        return None
    return summary if isinstance(summary, dict) and summary.get("status") == "done" else None


def make_folder(path: Path, *, field: str) -> None:
    """Make `path`; raises InputError, naming `field`, where that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{field}={path} cannot be made: {error.strerror}") from None


def refuse_run_for_sweep(folder: Path) -> None:
    """Refuse a folder that is a run's own for a sweep; raises InputError."""
    if holds_run(folder):
        raise InputError(f"hydra.sweep.dir={folder} holds a run; name another folder")


def refuse_used_folder(run_dir: Path) -> None:
    """Refuse a folder that holds a run already; raises InputError."""
    if holds_run(run_dir):
        raise InputError(f"hydra.run.dir={run_dir} holds a run already; resume={run_dir} goes on with it")
    for name in ("checkpoints", "metrics.jsonl"):
        if (run_dir / name).exists():
            raise InputError(f"hydra.run.dir={run_dir} holds the {name} of a run whose config.yaml is gone")
