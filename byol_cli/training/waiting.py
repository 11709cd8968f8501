"""Steps that wait for images: said once, with what would help."""

from collections.abc import Callable

from byol_cli.training.setup import Run

MAX_WAIT_SHARE = 0.1


class Waiting:
    """Looks at the share of the time that is spent in waiting, from the first figures on."""

    def __init__(self, run: Run, *, say: Callable[[str], None]) -> None:
        """`say` is told, once, where the share is large."""
        self._run, self._say, self._told = run, say, False
        self._after_start: tuple[float, float] | None = None  # by the first figures, which are of workers just starting

    def look(self, wait_seconds: float, seconds: float) -> None:
        """`wait_seconds` of all `seconds` of training so far were spent in waiting."""
        if self._after_start is None:
            self._after_start = wait_seconds, seconds
            return
        share = (wait_seconds - self._after_start[0]) / (seconds - self._after_start[1])
        if share > MAX_WAIT_SHARE and self._run.reads_files and not self._told:
            self._say(f"{share:.0%} of the time is spent waiting for images: {self._run.remedy_for_waiting()}")
            self._told = True
