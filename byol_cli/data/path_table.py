"""Millions of paths in three arrays: a Python list of strings would take ten times the memory, in every worker anew."""

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from byol_cli.data.bad_images import BadImage
from byol_cli.data.decode import read_file
from byol_cli.data.evenly_spaced import evenly_spaced
from byol_cli.schema.errors import InputError

MAX_SIZES_IN_FACTS = 4096
MAX_BEGINNINGS_IN_FACTS = 64
BEGINNING = 2**20  # bytes
AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class PathTable:
    """Paths of files, each relative to one of `roots`; an absolute one stands for itself.

    Attributes:
        roots: the folders that the paths are relative to.
        blob: uint8, all relative paths one after another, in the file system's encoding.
        offsets: int64 (files + 1,), where each path begins in `blob`; the last is the blob's length.
        root_index: uint16 (files,), each file's place in `roots`.
    """

    roots: tuple[str, ...]
    blob: np.ndarray
    offsets: np.ndarray
    root_index: np.ndarray

    def __len__(self) -> int:
        """Number of files."""
        return len(self.root_index)

    def __getitem__(self, index: int) -> str:
        """The path that opens the file."""
        return os.path.join(self.roots[self.root_index[index]], self.relative(index))

    def relative(self, index: int) -> str:
        """The path below the file's root."""
        return os.fsdecode(self.blob[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def relatives(self) -> Iterator[str]:
        """All paths below their roots, at a fraction of what it costs to ask for each."""
        for start in range(0, len(self), AT_ONCE):
            begin, *ends = self.offsets[start : start + AT_ONCE + 1].tolist()
            text = self.blob[begin : ends[-1]].tobytes()
            yield from (os.fsdecode(text[a - begin : b - begin]) for a, b in pairwise([begin, *ends]))

    def name(self, index: int) -> str:
        """What people call the file: its path below the root, or the whole path where there are several roots."""
        return self.relative(index) if len(self.roots) == 1 else self[index]

    def read(self, index: int) -> bytearray:
        """All that the file holds; raises BadImage where it cannot be read."""
        return read_file(self[index])

    def facts(self, *, skips_bad: bool) -> Iterator[bytes | memoryview]:
        """All names below their roots, and sizes and beginnings of some files.

        Sizes are those of at most 4,096 files, evenly spread: asking a network drive for a million takes many minutes.
        Beginnings are those of at most 64: other pictures may well have the same names and sizes, as BMP files do.
        Roots do not count: a data set that moved is the same data set. A change elsewhere that leaves a file's size as
        it is goes unnoticed.

        Raises:
            BadImage: a file has gone or is locked, and is not to be skipped.
        """
        yield from (part.data for part in (self.blob, self.offsets, self.root_index))
        for index in evenly_spaced(len(self), at_most=MAX_SIZES_IN_FACTS):
            yield self._fact(index, _size, skips_bad=skips_bad)
        for index in evenly_spaced(len(self), at_most=MAX_BEGINNINGS_IN_FACTS):
            yield self._fact(index, _beginning, skips_bad=skips_bad)

    def _fact(self, index: int, read: Callable[[str], bytes], *, skips_bad: bool) -> bytes:
        try:
            return read(self[index])
        except OSError as error:
            if not skips_bad:
                raise BadImage(self[index], str(error.strerror)) from error
            return b"bad "

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return self.blob.nbytes + self.offsets.nbytes + self.root_index.nbytes


def _size(path: str) -> bytes:
    return f"{os.stat(path).st_size} ".encode()


def _beginning(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(BEGINNING)


def scan(roots: Sequence[Path], extensions: tuple[str, ...]) -> PathTable:
    """All files below `roots` whose names end in one of `extensions` (lower case, with the dot), in a fixed order.

    A folder's files come first, by name, then its folders, by name. Names that begin with a dot are left out. Links
    to folders are followed, but no folder is entered twice: neither a loop nor one root inside another repeats a file.
    Pipes and devices are no files: reading one might take for ever. A link that leads nowhere is an image that is bad.

    Raises:
        InputError: a folder cannot be listed.
    """
    table = _Builder()
    entered: set[tuple[int, int]] = set()
    for number, root in enumerate(roots):
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                files, folders = _list(os.path.join(root, folder), extensions, entered)
            except OSError as error:
                raise InputError(f"{os.path.join(root, folder)}: {error.strerror}") from error
            for name in files:
                table.add(os.path.join(folder, name), root=number)
            pending += [os.path.join(folder, name) for name in reversed(folders)]
    return table.build([str(root) for root in roots])


def _list(folder: str, extensions: tuple[str, ...], entered: set[tuple[int, int]]) -> tuple[list[str], list[str]]:
    """The names of the files and folders in `folder`, sorted; nothing where it has been `entered` before."""
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in entered:
        return [], []
    entered.add(identity)
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(extensions) and (entry.is_file() or entry.is_symlink()):
                files.append(entry.name)
    return sorted(files), sorted(folders)


def from_file_list(path: Path, *, must_exist: bool) -> PathTable:
    """The files that a text file names, one a line, relative to its own folder; empty lines and # comments are skipped.

    Raises:
        InputError: the list cannot be read, or one of its lines repeats a file or, with `must_exist`, names none.
    """
    table = _Builder()
    seen: set[str] = set()
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"dataset.file_list={path}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name = os.path.normpath(line.strip())
        if must_exist and not os.path.isfile(path.parent / name):
            raise InputError(f"dataset.file_list={path}, line {number}: there is no file {name}")
        if name in seen:
            raise InputError(f"dataset.file_list={path}, line {number}: {name} is there twice")
        seen.add(name)
        table.add(name, root=0)
    return table.build([str(path.parent)])


class _Builder:
    """Grows the arrays of a PathTable."""

    def __init__(self) -> None:
        self.blob = bytearray()
        self.offsets = array("q", [0])
        self.root_index = array("H")

    def add(self, relative: str, *, root: int) -> None:
        self.blob += os.fsencode(relative)
        self.offsets.append(len(self.blob))
        self.root_index.append(root)

    def build(self, roots: Sequence[str]) -> PathTable:
        return PathTable(
            roots=tuple(roots),
            blob=np.frombuffer(bytes(self.blob), dtype=np.uint8),
            offsets=np.array(self.offsets, dtype=np.int64),
            root_index=np.array(self.root_index, dtype=np.uint16),
        )
