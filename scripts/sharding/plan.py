"""Which file of a folder goes into which shard, and what it is called there: a pure function of names and sizes."""

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from byol_cli.data.path_table import PathTable


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """A shard to be written.

    Attributes:
        name: of its file.
        paths: of the images, in their order.
        members: what each is called in the shard.
        sizes: of the images in bytes.
        youngest: when one of them was changed last, in nanoseconds.
        labels: class numbers, -1 for none; None where there are no classes.
    """

    name: str
    paths: tuple[str, ...]
    members: tuple[str, ...]
    sizes: tuple[int, ...]
    youngest: int
    labels: tuple[int, ...] | None


def plan(paths: PathTable, labels: np.ndarray | None, *, prefix: str, shard_bytes: int) -> list[PlannedShard]:
    """Fill shard after shard up to `shard_bytes`; an image that is larger has one of its own.

    Raises:
        OSError: a file has gone.
    """
    facts = [os.stat(paths[index]) for index in range(len(paths))]
    room = [_bytes_in_tar(fact.st_size) for fact in facts]
    if labels is not None:
        room = [size + _bytes_in_tar(1) for size in room]
    members = member_names([paths.relative(index) for index in range(len(paths))])
    starts, filled = [0], 2 * tarfile.BLOCKSIZE
    for index, size in enumerate(room):
        if _blocks(filled + size, tarfile.RECORDSIZE) > shard_bytes and index > starts[-1]:
            starts.append(index)
            filled = 2 * tarfile.BLOCKSIZE
        filled += size
    digits = max(6, len(str(len(starts) - 1)))
    return [
        PlannedShard(
            name=f"{prefix}-{number:0{digits}d}.tar",
            paths=tuple(paths[index] for index in range(start, end)),
            members=tuple(members[start:end]),
            sizes=tuple(fact.st_size for fact in facts[start:end]),
            youngest=max(fact.st_mtime_ns for fact in facts[start:end]),
            labels=None if labels is None else tuple(labels[start:end].tolist()),
        )
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(paths)], strict=True))
    ]


def member_names(names: Sequence[str]) -> list[str]:
    """`a/b.c.jpg` becomes `a/b_c.jpg`, because WebDataset ends a sample's key at the first dot of the last part.

    Where two files would have one key, the later one's has a number added.
    """
    taken: set[str] = set()
    members = []
    for name in names:
        folder, last = os.path.split(name)
        stem, extension = os.path.splitext(last)
        key = wanted = os.path.join(folder, stem.replace(".", "_")).replace(os.sep, "/")
        number = 1
        while key in taken:
            number += 1
            key = f"{wanted}_{number}"
        taken.add(key)
        members.append(f"{key}{extension}")
    return members


def _bytes_in_tar(size: int) -> int:
    """A header, and the content in whole blocks."""
    return tarfile.BLOCKSIZE + _blocks(size, tarfile.BLOCKSIZE)


def _blocks(size: int, block: int) -> int:
    """Rounded up to whole blocks."""
    return -(-size // block) * block
