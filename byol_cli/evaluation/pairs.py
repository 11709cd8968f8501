"""Pairs of images to verify: drawn from the labels, or named in a CSV file."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from byol_cli.data.cache import CachedImages
from byol_cli.data.images import FileImages, ImageSet
from byol_cli.data.path_table import PathTable
from byol_cli.data.sources import Subset
from byol_cli.schema.errors import InputError

COLUMNS = ("path1", "path2", "same")
ANSWERS = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, eq=False)
class Pairs:
    """`first` and `second`, int64 `(pairs,)`, are places in a list of images; `same`, bool, whether of one class."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.same)

    def take(self, chosen: np.ndarray) -> "Pairs":
        """Those at the places, or of the mask, `chosen`."""
        return Pairs(self.first[chosen], self.second[chosen], self.same[chosen])


def draw_pairs(labels: np.ndarray, *, num_pairs: int, seed: int) -> Pairs:
    """Different pairs of images, half of one class and half of two, each equally likely: a pure function.

    Where there are fewer of a kind than half of `num_pairs`, all of them.

    Args:
        labels: int64 `(images,)`, none of them -1.
        num_pairs: at most so many.
        seed: of the draw.
    """
    by_class = np.argsort(labels, kind="stable")
    ordered, places = labels[by_class], np.arange(len(labels))
    begins = np.searchsorted(ordered, ordered)  # where each image's class begins
    generator = np.random.default_rng(seed)
    # An image's partners are those before it: of its own class from `begins` on, of other classes up to there.
    first, second = [], []
    for partners, offset in ((places - begins, begins), (begins, np.zeros_like(begins))):
        ends = np.cumsum(partners)
        total = int(ends[-1]) if len(ends) else 0
        numbers = (
            np.sort(generator.choice(total, size=min(num_pairs // 2, total), replace=False)) if total else places[:0]
        )
        owners = np.searchsorted(ends, numbers, side="right")
        first.append(by_class[owners])
        second.append(by_class[offset[owners] + numbers - (ends - partners)[owners]])
    same = np.repeat([True, False], [len(part) for part in first])
    return Pairs(np.concatenate(first), np.concatenate(second), same)


def read_pairs(path: Path, image_sets: Sequence[ImageSet]) -> tuple[list[Subset], Pairs]:
    """The images that a CSV file with the columns `path1`, `path2` and `same` (0 or 1) names, each once, and its pairs.

    Paths are absolute, or relative to the CSV file's folder or to a root of the data set. Images that lie in no file
    are called by their names, such as digits/17.

    Returns:
        Parts of the `image_sets`; the pairs count the images of all parts one after another.

    Raises:
        InputError: the file cannot be read, a row is not whole, or names an image that is none of the data set.
    """
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"evaluation.retrieval.pairs={path} names no pairs")
    names = {name for _, first, second, _ in rows for name in (first, second)}
    found = _places(names, image_sets, folder=path.parent)
    for where, first, second, _ in rows:
        for name in (first, second):
            if name not in found:
                raise InputError(f"{where}: {name} is no image of the data set")
    used = sorted(set(found.values()))
    number = {place: position for position, place in enumerate(used)}
    parts = [
        Subset(images, np.array([index for owner, index in used if owner == place], dtype=np.int64))
        for place, images in enumerate(image_sets)
    ]
    pairs = Pairs(
        first=np.array([number[found[first]] for _, first, _, _ in rows], dtype=np.int64),
        second=np.array([number[found[second]] for _, _, second, _ in rows], dtype=np.int64),
        same=np.array([same for *_, same in rows]),
    )
    return [part for part in parts if len(part)], pairs


def _rows(path: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Each row: where it is, both names, and whether they are of one class."""
    setting = f"evaluation.retrieval.pairs={path}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise InputError(f"{setting}: the first line must name the columns path1, path2 and same")
            for row in reader:
                where = f"{setting}, line {reader.line_num}"
                if not row["path1"] or not row["path2"]:
                    raise InputError(f"{where}: path1 and path2 are needed")
                answer = (row["same"] or "").strip().lower()
                if answer not in ANSWERS:
                    raise InputError(f"{where}: same={answer} must be 1 (of one class) or 0 (of two)")
                yield where, row["path1"].strip(), row["path2"].strip(), ANSWERS[answer]
    except OSError as error:
        raise InputError(f"{setting}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{setting} is no CSV file in UTF-8: {error}") from error


def _places(names: set[str], image_sets: Sequence[ImageSet], *, folder: Path) -> dict[str, tuple[int, int]]:
    """Of each name that is an image of the sets: the set's place and the image's place in it."""
    tables = [_paths(images) for images in image_sets]
    bases = [str(folder), *(root for table in tables if table is not None for root in table.roots)]
    wanted = {name: [os.path.abspath(os.path.join(base, name)) for base in bases] for name in names}
    anyhow = names.union(*wanted.values())
    met: dict[str, tuple[int, int]] = {}
    for place, (images, table) in enumerate(zip(image_sets, tables, strict=True)):
        for index in range(len(images)):
            called = images.name(index) if table is None else os.path.abspath(table[index])
            if called in anyhow:
                met.setdefault(called, (place, index))
    found = {name: next((met[one] for one in [name, *wanted[name]] if one in met), None) for name in names}
    return {name: place for name, place in found.items() if place is not None}


def _paths(images: ImageSet) -> PathTable | None:
    """Where the images lie, or None for images that are no files of their own."""
    files = images.files if isinstance(images, CachedImages) else images
    return files.paths if isinstance(files, FileImages) and isinstance(files.paths, PathTable) else None
