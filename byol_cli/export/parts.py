"""Features on their way into one file: parts in a folder beside it, so that an interrupted embedding goes on."""

import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from byol_cli.evaluation.features import missing_rows
from byol_cli.schema.errors import InputError, TrainingFault

_SUFFIX, _UNFINISHED = ".safetensors", ".writing"
_NAME = re.compile(rf"\d{{12}}{re.escape(_SUFFIX)}({re.escape(_UNFINISHED)})?")


class Block(NamedTuple):
    """Some images that could be read, in their order: their numbers, int64, and float32 features (images, dim)."""

    places: np.ndarray
    features: Tensor


class _Part(NamedTuple):
    path: Path
    start: int
    num_images: int
    rows: int


class Parts:
    """The features of images 0, 1, 2 ... in files of some images each; one is there whole or not at all."""

    def __init__(self, folder: Path, *, key: str, dim: int, say: Callable[[str], None]) -> None:
        """Take up what `folder`, which exists, holds already.

        Args:
            folder: only the process that holds its lock writes here; see `refuse_foreign`.
            key: of all that the features depend on; parts of another key are removed.
            dim: length of a feature vector.
            say: is told in one line of what is removed.
        """
        self.folder, self.dim, self._key = folder, dim, key
        self._parts: list[_Part] = []
        files = [path for path in _own_files(folder) if path.suffix == _SUFFIX]
        for path in files:
            part = self._read(path)
            if part is None or part.start != self.done:
                break
            self._parts.append(part)
        useless = files[len(self._parts) :]
        if useless:
            say(f"{folder}: {len(useless)} parts are damaged, or of other images, weights or settings: made anew")
        for path in [*useless, *(path for path in _own_files(folder) if path.suffix == _UNFINISHED)]:
            path.unlink()

    @property
    def done(self) -> int:
        """How many images are done, those that could not be read with them."""
        return self._parts[-1].start + self._parts[-1].num_images if self._parts else 0

    @property
    def rows(self) -> int:
        """How many of them have features."""
        return sum(part.rows for part in self._parts)

    def add(self, features: Tensor) -> None:
        """The next images' features, float32 (images, dim); a row of NaN is one that could not be read.

        Raises:
            TrainingFault: they cannot be written.
        """
        readable = ~missing_rows(features)
        start, count = self.done, len(features)
        path = self.folder / f"{start:012d}{_SUFFIX}"
        draft = path.with_name(f"{path.name}{_UNFINISHED}")
        tensors = {
            "features": features[readable].contiguous(),
            "places": readable.nonzero()[:, 0] + start,
        }
        try:
            save_file(tensors, draft, {"key": self._key, "start": str(start), "count": str(count)})
            with draft.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(draft, path)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TrainingFault(
                f"{path} cannot be written: {reason}; what is done is kept, and the same command goes on from there"
            ) from None
        finally:
            draft.unlink(missing_ok=True)
        self._parts.append(_Part(path, start, count, len(tensors["places"])))

    def blocks(self) -> Iterator[Block]:
        """All features, a part at a time."""
        for part in self._parts:
            if part.rows:
                with safe_open(part.path, framework="pt") as file:
                    yield Block(file.get_tensor("places").numpy(), file.get_tensor("features"))

    def places(self) -> Iterator[np.ndarray]:
        """The numbers of the images that have features, a part at a time."""
        for part in self._parts:
            if part.rows:
                with safe_open(part.path, framework="pt") as file:
                    yield file.get_tensor("places").numpy()

    def remove(self) -> None:
        """The file that they were made for is there; whatever else lies in the folder stays."""
        for path in _own_files(self.folder):
            path.unlink()

    def _read(self, path: Path) -> _Part | None:
        """None where it is damaged or of another key."""
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                rows, dim = file.get_slice("features").get_shape()
                places = file.get_tensor("places")
        except (OSError, SafetensorError, ValueError):
            return None
        if told.get("key") != self._key or dim != self.dim or places.dtype != torch.int64 or len(places) != rows:
            return None
        return _Part(path, int(told["start"]), int(told["count"]), rows)


def refuse_foreign(folder: Path, *, known: Collection[str], output: Path) -> None:
    """A folder of the name that parts of `output` would have may be somebody's; raises InputError where it is.

    `known` are the names of files, besides parts, that are made there.
    """
    if not folder.is_dir():
        return
    own = {*known, *(path.name for path in _own_files(folder))}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in own)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(
            f"output={output} is made in the folder {folder}, which holds {foreign[0]}{more}, not of byol-embed: "
            "move that away, or name another output"
        )


def _own_files(folder: Path) -> list[Path]:
    """Parts and drafts of them, in their order."""
    return sorted(path for path in folder.glob(f"*{_SUFFIX}*") if _NAME.fullmatch(path.name) and path.is_file())
