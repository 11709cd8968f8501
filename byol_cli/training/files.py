"""Files that are whole or not there, and files that a run can do without. Torch is not needed here."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def tolerated(what: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """A file that a run can do without: where it cannot be written, `say` is told and the run goes on."""
    try:
        yield
    except OSError as error:
        say(f"warning: {what} cannot be written: {error.strerror or error}")


def write_whole(path: Path, text: str) -> None:
    """Write `text` so that `path` is at all times absent, the old file or the new one."""
    draft = path.with_name(f"{path.name}.writing")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
