"""Every image of a data set once, with its path, split and label."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from byol_cli.data.cache import CachedImages
from byol_cli.data.images import FileImages, ImageSet
from byol_cli.data.path_table import PathTable
from byol_cli.data.sources import Splits, Subset

UNUSED, TRAIN, SELECTION, TEST = range(4)
SPLIT_NAMES = ("unused", "train", "selection", "test")


class Columns(NamedTuple):
    """Text of some images; `labels` is None where the data set has none, and a label is empty for an image without."""

    paths: list[str]
    splits: list[str]
    labels: list[str] | None


@dataclass(frozen=True, eq=False)
class _Set:
    images: ImageSet
    start: int
    splits: np.ndarray


class EveryImage:
    """The image sets of a data set one after another, each in its own order: numbered from 0 on through all of them."""

    def __init__(self, splits: Splits) -> None:
        """Nothing is read yet."""
        parts = [(TRAIN, splits.pretrain), (TRAIN, splits.train), (SELECTION, splits.selection), (TEST, splits.test)]
        sets: dict[int, _Set] = {}
        self._count = 0
        for split, subset in parts:
            if subset is None:
                continue
            images = subset.images
            if id(images) not in sets:
                sets[id(images)] = _Set(images, self._count, np.full(len(images), UNUSED, dtype=np.uint8))
                self._count += len(images)
            sets[id(images)].splits[subset.indices] = split
        self._sets = list(sets.values())
        self.has_labels = any(part.images.labels is not None for part in self._sets)

    def __len__(self) -> int:
        """Number of images."""
        return self._count

    @property
    def fingerprints(self) -> list[str]:
        """What tells these images, in this order, from others."""
        return [part.images.fingerprint for part in self._sets]

    def rest(self, start: int) -> Iterator[Subset]:
        """The images from number `start` on, an image set at a time."""
        for part in self._sets:
            indices = np.arange(max(start - part.start, 0), len(part.images), dtype=np.int64)
            if len(indices):
                yield Subset(part.images, indices)

    def columns(self, places: np.ndarray) -> Columns:
        """Of the images numbered `places`, int64, in rising order."""
        found = [self._columns(part, places) for part in self._sets]
        return Columns(
            paths=[path for columns in found for path in columns.paths],
            splits=[split for columns in found for split in columns.splits],
            labels=[label for columns in found for label in columns.labels or ()] if self.has_labels else None,
        )

    def _columns(self, part: _Set, places: np.ndarray) -> Columns:
        indices = places - part.start
        indices = indices[(indices >= 0) & (indices < len(part.images))]
        names, labels = part.images.class_names, part.images.labels
        values = np.full(len(indices), -1) if labels is None else labels[indices]
        return Columns(
            paths=[path_of(part.images, index) for index in indices.tolist()],
            splits=[SPLIT_NAMES[code] for code in part.splits[indices].tolist()],
            labels=["" if value < 0 else names[value] for value in values.tolist()],
        )


def path_of(images: ImageSet, index: int) -> str:
    """The path that opens the image's file; of an image that is no file of its own, what people call it."""
    files = images.files if isinstance(images, CachedImages) else images
    if isinstance(files, FileImages) and isinstance(files.paths, PathTable):
        return files.paths[index]
    return files.name(index)
