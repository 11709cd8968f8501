"""What a run leaves to read: metrics.jsonl and TensorBoard's event files."""

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class Recorder:
    """Writes one line of metrics.jsonl and one point of each TensorBoard curve per call of `record`."""

    def __init__(self, run_dir: Path, *, start_step: int) -> None:
        """Open the files in `run_dir`; lines from after `start_step`, left by a run that was cut off, are dropped."""
        self.path = run_dir / "metrics.jsonl"
        kept = [row for row in read_metrics(self.path) if row["step"] <= start_step] if start_step else []
        self.path.write_text("".join(f"{json.dumps(row)}\n" for row in kept))
        self._file = self.path.open("a", buffering=1)
        self._tensorboard = SummaryWriter(str(run_dir / "tensorboard"), purge_step=start_step + 1)

    def record(self, step: int, values: dict[str, float]) -> None:
        """`values` by TensorBoard's names, such as `train/loss`, after `step` optimiser steps."""
        self._file.write(f"{json.dumps({'step': step, **values})}\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def picture(self, name: str, image: Tensor) -> None:
        """A picture `(3, height, width)` of values in [0, 1]."""
        self._tensorboard.add_image(name, image)

    def close(self) -> None:
        """Write out what is buffered."""
        self._file.close()
        self._tensorboard.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off in writing is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def write_whole(path: Path, text: str) -> None:
    """Write `text` so that `path` is at all times absent, the old file or the new one."""
    draft = path.with_name(f"{path.name}.writing")
    draft.write_text(text)
    os.replace(draft, path)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as JSON, whole or not at all."""
    write_whole(path, f"{json.dumps(values, indent=2)}\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote, or None where there is no such file."""
    return json.loads(path.read_text()) if path.is_file() else None
