"""Where the labels of image files come from: the first folder below the root, a CSV file, or nowhere."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from byol_cli.data.path_table import PathTable
from byol_cli.schema.errors import InputError

UNLABELLED = -1
MAX_CLASSES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of the training and the test images, int64, -1 for none; both None where there are none.

    `origin` tells people where they come from, or why there are none.
    """

    train: np.ndarray | None
    test: np.ndarray | None
    class_names: tuple[str, ...]
    origin: str


def no_labels(why: str) -> Labels:
    """No image has a label."""
    return Labels(train=None, test=None, class_names=(), origin=f"no labels ({why})")


def auto_labels(train: PathTable, test: PathTable | None) -> Labels:
    """Class folders where every training image lies exactly one folder deep, in two folders or more; else none.

    Where only the test images lie so, they alone have labels: enough to search among them.
    """
    folders, why = _folders_if_classes(train)
    if folders is not None:
        return _labels_of(folders, test)
    of_test = None if test is None else _folders_if_classes(test)[0]
    if of_test is None:
        return no_labels(why)
    tested = _labels_of(of_test, None)
    origin = f"no labels of training images ({why}), {describe(tested.class_names)} of test images from the folders"
    return Labels(train=None, test=tested.train, class_names=tested.class_names, origin=origin)


def _folders_if_classes(paths: PathTable) -> tuple["_Coded | None", str]:
    """The class folders, or None and why there are none."""
    if any(path.count(os.sep) != 1 or os.pardir in path.split(os.sep) for path in paths.relatives()):
        return None, "not all images lie one folder deep; dataset.labels=folders takes the first folder as the class"
    folders = _coded_folders(paths)
    return (None, "all images lie in one folder") if len(folders.names) < 2 else (folders, "")


def folder_labels(train: PathTable, test: PathTable | None) -> Labels:
    """The first folder below the root is the class; the same name below two roots is the same class.

    Raises:
        InputError: an image lies in no folder, or there are fewer than two classes.
    """
    return _labels_of(_coded_folders(train), test)


class _Coded(NamedTuple):
    """Different names in the order in which they come, and each image's place among them, int64 (images,)."""

    names: list[str]
    codes: np.ndarray


def _coded_folders(paths: PathTable) -> _Coded:
    places: dict[str, int] = {}
    codes = (places.setdefault(folder, len(places)) for folder in _class_folders(paths))
    found = np.fromiter(codes, dtype=np.int64, count=len(paths))
    return _Coded(list(places), found)


def _labels_of(train: _Coded, test: PathTable | None) -> Labels:
    tested = None if test is None else _coded_folders(test)
    class_names = ordered_classes(set(train.names), set() if tested is None else set(tested.names))
    places = {name: place for place, name in enumerate(class_names)}

    def labels(coded: _Coded) -> np.ndarray:
        return np.array([places[name] for name in coded.names], dtype=np.int64)[coded.codes]

    return Labels(
        train=labels(train),
        test=None if tested is None else labels(tested),
        class_names=class_names,
        origin=f"{describe(class_names)} from the folders",
    )


def csv_labels(path: Path, train: PathTable, test: PathTable | None) -> Labels:
    """Labels from a CSV file whose header has the columns `path` and `label`; an image that it does not name gets -1.

    Paths are absolute, or relative to the CSV file's folder or to a root. A row may name a file outside the data set.

    Raises:
        InputError: a row names a file that does not exist, has no label or contradicts another; there are fewer than
            two classes of training images and, unless none of these is named, of test images.
    """
    tables = [train] if test is None else [train, test]
    bases = [str(path.parent), *(root for table in tables for root in table.roots)]
    places = {os.path.abspath(table[i]): (part, i) for part, table in enumerate(tables) for i in range(len(table))}
    found: list[dict[int, str]] = [{} for _ in tables]
    for where, name, label in _rows(path):
        candidates = [os.path.abspath(os.path.join(base, name)) for base in bases]
        place = next((places[candidate] for candidate in candidates if candidate in places), None)
        if place is None:
            if not any(os.path.isfile(candidate) for candidate in candidates):
                raise InputError(f"{where}: there is no file {name}")
            continue
        part, index = place
        if found[part].setdefault(index, label) != label:
            raise InputError(f"{where}: {name} is {label} here and {found[part][index]} in an earlier line")
    class_names = ordered_classes(*(set(labels.values()) for labels in found))
    if test is not None and not found[1]:
        raise InputError(f"dataset.labels_csv={path} names none of the images of dataset.test_root")
    codes = {name: code for code, name in enumerate(class_names)}
    arrays = [np.full(len(table), UNLABELLED, dtype=np.int64) for table in tables]
    for array, labels in zip(arrays, found, strict=True):
        array[list(labels)] = [codes[label] for label in labels.values()]
    return Labels(
        train=arrays[0] if found[0] else None,
        test=None if test is None else arrays[1],
        class_names=class_names,
        origin=f"{describe(class_names)} from {path}, {len(train) - len(found[0]):,} images without a label",
    )


def describe(class_names: Sequence[str]) -> str:
    """`3 classes (cat, dog, fox)`; of many classes the first few names."""
    more = ", ..." if len(class_names) > MAX_CLASSES_SHOWN else ""
    return f"{len(class_names):,} classes ({', '.join(class_names[:MAX_CLASSES_SHOWN])}{more})"


def ordered_classes(train: set[str], test: set[str] | None = None) -> tuple[str, ...]:
    """Those of training images first, then those that test images alone have; two or more. Raises InputError."""
    known = sorted(train) + sorted((test or set()) - train)
    if len(train or test or ()) < 2:
        raise InputError(f"dataset.labels: two classes or more are needed, there is {' '.join(known) or 'none'}")
    return tuple(known)


def _class_folders(paths: PathTable) -> Iterator[str]:
    for index, path in enumerate(paths.relatives()):
        folder, separator, _ = path.partition(os.sep)
        if not separator or folder in ("", os.pardir):
            raise InputError(f"{paths[index]} lies in no class folder below {paths.roots[paths.root_index[index]]}")
        yield folder


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each row of the CSV file: where it is, its path and its label."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise InputError(f"dataset.labels_csv={path}: the first line must name the columns path and label")
            for row in reader:
                where = f"dataset.labels_csv={path}, line {reader.line_num}"
                if not row["path"] or not row["label"]:
                    raise InputError(f"{where}: a path and a label are needed; leave out images without a label")
                yield where, row["path"], row["label"]
    except OSError as error:
        raise InputError(f"dataset.labels_csv={path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"dataset.labels_csv={path} is no CSV file in UTF-8: {error}") from error
