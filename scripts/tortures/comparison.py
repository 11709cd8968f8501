"""Two run folders compared, bit for bit: checkpoints, figures and scores, but not how long things took."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from byol_cli.training.checkpoint_search import FOLDER, newest_good, open_checkpoint
from byol_cli.training.recorder import read_json, read_metrics

TIMING = {"train/images_per_second", "train/data_wait_share", "images_per_second", "seconds"}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How many tensors and plain values were compared, and the names of those that differ."""

    compared: int
    tensors: list[str]
    values: list[str]

    @property
    def names(self) -> list[str]:
        """All that differ."""
        return [*self.tensors, *self.values]


def compare(whole: Path, other: Path) -> Comparison:
    """The run in the folder `other` beside that in `whole`, which went through without a break.

    Raises:
        InputError: a file in one of them is damaged.
    """
    left, right = dict(leaves(contents(whole))), dict(leaves(contents(other)))
    names = list(left | right)
    differing = [name for name in names if not (name in left and name in right and same(left[name], right[name]))]
    tensors = [name for name in differing if isinstance(left.get(name, right.get(name)), Tensor)]
    return Comparison(
        compared=len(names), tensors=tensors, values=[name for name in differing if name not in set(tensors)]
    )


def contents(run_dir: Path) -> dict[str, Any]:
    """What a run left: the newest checkpoint, the best one, figures, scores and settings.

    Raises:
        InputError: a file is damaged.
    """
    newest = newest_good(run_dir, field="run", say=print)
    best = run_dir / FOLDER / "best.pt"
    return {
        "newest": newest and newest[1],
        "best": open_checkpoint(best, field="run", say=print)[1] if best.is_file() else None,
        "metrics.jsonl": [untimed(row) for row in read_metrics(run_dir / "metrics.jsonl")],
        "summary.json": untimed(read_json(run_dir / "summary.json") or {}),
        "config.yaml": yaml.safe_load((run_dir / "config.yaml").read_text()),
    }


def untimed(values: dict[str, Any]) -> dict[str, Any]:
    """`values` without what depends on the clock."""
    return {name: value for name, value in values.items() if name not in TIMING}


def leaves(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of all that is in nested dicts and lists; an empty one is a value itself."""
    if isinstance(values, (list, tuple)):
        values = dict(enumerate(values)) or []
    if not (isinstance(values, dict) and values):
        yield name, values
        return
    for key, value in values.items():
        yield from leaves(value, f"{name}.{key}" if name else str(key))


def same(left: Any, right: Any) -> bool:
    """Equal to the bit, in type and shape: 0.0 is not -0.0, and a NaN is itself."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(_bytes(left), _bytes(right))
    return type(left) is type(right) and repr(left) == repr(right)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
