"""One process at a time writes in a folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone_in(folder: Path, *, field: str, log: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, and clear away what processes that were killed have left there unfinished.

    `log` is told where another process has the lock; its line begins with `field`. The folder is made where there is
    none.
    """
    import fcntl  # late: Windows has none, and can still train without such a folder

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"{field}: waiting for another process that writes in {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left_over in folder.glob("*.unfinished"):
            left_over.unlink()
        yield
