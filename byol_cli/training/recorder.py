"""What a run leaves to read: metrics.jsonl and TensorBoard's event files."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from byol_cli.schema.errors import InputError
from byol_cli.training.files import tolerated, write_whole
from byol_cli.training.outside import OutsideRecorders

METRICS = "metrics.jsonl"


class NoRecorder:
    """In place of a Recorder, in a process that leaves writing to the first one."""

    def record(self, step: int, values: dict[str, float]) -> None:
        """Nothing."""

    def picture(self, name: str, image: Tensor) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Recorder:
    """Writes one line of metrics.jsonl and one point of each TensorBoard curve per call of `record`.

    Where the disk is full or has gone, lines wait in memory for the next one that can be written.
    """

    def __init__(
        self, run_dir: Path, *, start_step: int, say: Callable[[str], None], outside: OutsideRecorders | None = None
    ) -> None:
        """Open the files in `run_dir`; lines from after `start_step`, left by a run that was cut off, are dropped.

        `outside` gets the same figures.

        Raises:
            OSError: they cannot be written.
            InputError: a line of metrics.jsonl is damaged.
        """
        self.path = run_dir / METRICS
        kept = [row for row in read_metrics(self.path) if row["step"] <= start_step] if start_step else []
        write_whole(self.path, "".join(map(_line, kept)))
        self._size = self.path.stat().st_size
        self._waiting: list[str] = []
        self._lock = threading.Lock()  # checkpoints are written in a thread, after the lines before them
        self._say, self._outside = say, outside
        self._failing = False
        threading.excepthook = _leave_to_the_main_thread
        self._tensorboard: SummaryWriter | None = SummaryWriter(str(run_dir / "tensorboard"), purge_step=start_step + 1)

    def record(self, step: int, values: dict[str, float]) -> None:
        """`values` by TensorBoard's names, such as `train/loss`, after `step` optimiser steps."""
        with self._lock:
            self._waiting.append(_line({"step": step, **values}))
        try:
            self._write_waiting()
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._say(f"warning: {self.path} cannot be written to: {error.strerror}; its lines wait in memory")
            self._failing = True

        def points(board: SummaryWriter) -> None:
            for name, value in values.items():
                board.add_scalar(name, value, step)

        self._draw(points)
        if self._outside is not None:
            self._outside.record(step, values)

    def picture(self, name: str, image: Tensor) -> None:
        """A picture `(3, height, width)` of values in [0, 1]."""
        self._draw(lambda board: board.add_image(name, image))

    def sync(self) -> None:
        """See that all lines recorded so far are on the disk; raises OSError where they cannot be."""
        self._write_waiting()
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Write out what is buffered."""
        with tolerated(self.path, say=self._say):
            self._write_waiting()
        self._draw(lambda board: board.close())

    def _write_waiting(self) -> None:
        """Append the waiting lines, over whatever an attempt before has left half-written."""
        with self._lock:
            data = "".join(self._waiting).encode()
            with self.path.open("r+b") as file:
                file.truncate(self._size)
                file.seek(self._size)
                file.write(data)
            self._size += len(data)
            self._waiting = []

    def _draw(self, action: Callable[[SummaryWriter], None]) -> None:
        """TensorBoard's writer fails for good when it fails."""
        if self._tensorboard is None:
            return
        try:
            action(self._tensorboard)
        except OSError as error:
            self._tensorboard = None
            self._say(f"warning: TensorBoard's files end here: {error.strerror}; metrics.jsonl goes on")


def _leave_to_the_main_thread(args: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread raises an OSError twice: in itself, where it would be printed, and at the next call."""
    if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard")):
        _print_exception(args)


_print_exception = threading.excepthook


def _line(row: dict[str, Any]) -> str:
    return f"{json.dumps(row)}\n"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off in writing is left out.

    Raises:
        InputError: another line is damaged.
    """
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"])})
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise InputError(f"{path}: line {number} is damaged; no run can go on from it") from None
    return rows


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as JSON, whole or not at all."""
    write_whole(path, f"{json.dumps(values, indent=2)}\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote, or None where there is no such file.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return {**json.loads(path.read_bytes())}
    except (ValueError, TypeError):
        raise InputError(f"{path} is damaged: it is no JSON object") from None
