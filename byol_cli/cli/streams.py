"""What a command prints, where nobody may be reading any more."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Unbreakable:
    """A stream that falls silent when its reader has gone (the terminal was closed, `| head` has seen enough).

    A run goes on without a word, rather than to die of having told something.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """All but writing is left to `stream`; None, as where it was closed from the start, is silence."""
        self._stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115 (it lasts as the process does)

    def write(self, text: str) -> int:
        """As a stream does."""
        with self._silent_where_it_breaks():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As a stream does."""
        with self._silent_where_it_breaks():
            self._stream.flush()

    @contextlib.contextmanager
    def _silent_where_it_breaks(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, self._stream.fileno())
            os.close(silence)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def unbreakable_streams() -> Iterator[None]:
    """Standard output and error are unbreakable in this context."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Unbreakable(before[0]), Unbreakable(before[1])
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before
