"""Where every image of a set of tar shards lies: a few arrays, and the one file that keeps them."""

import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from byol_cli.schema.errors import InputError

INDEX_FILE = "index.npz"
"""Beside the shards, where scripts/make_shards.py wrote them."""

FORMAT = 1
MAX_LABELS = 2**16
"""More different ones are no classes but captions."""

MAX_DIGITS = 9

_ARRAYS = {
    "shard_sizes": np.int64,
    "digests": np.uint8,
    "starts": np.int64,
    "offsets": np.int64,
    "sizes": np.uint32,
    "checksums": np.uint32,
    "names": np.uint8,
    "name_offsets": np.int64,
    "labels": np.int64,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ScannedShard:
    """What one shard holds; arrays as in ShardIndex, `labels` as text, "" for none."""

    size: int
    digest: bytes
    offsets: list[int]
    sizes: list[int]
    checksums: list[int]
    names: list[str]
    labels: list[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardIndex:
    """The images of all shards, in their order.

    Attributes:
        shards: names of the tar files, relative to their folder.
        label_member: which member of a sample its label was read from.
        label_values: the different labels as text: numbers in their order, or else words in theirs.
        shard_sizes: int64 (shards,), in bytes.
        digests: uint8 (shards, 32), SHA-256 of each.
        starts: int64 (shards + 1,), the number of each shard's first image; the last is the number of images.
        offsets: int64 (images,), where an image begins in its shard.
        sizes: uint32 (images,), in bytes.
        checksums: uint32 (images,), CRC-32 of its bytes.
        names: uint8, the members' names one after another, in UTF-8.
        name_offsets: int64 (images + 1,), where each begins.
        labels: int64 (images,), places in `label_values`, -1 for none.
    """

    shards: tuple[str, ...]
    label_member: str
    label_values: tuple[str, ...]
    shard_sizes: np.ndarray
    digests: np.ndarray
    starts: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    checksums: np.ndarray
    names: np.ndarray
    name_offsets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Number of images."""
        return len(self.offsets)

    def shard_of(self, index: int) -> int:
        """The number of the shard that holds the image."""
        return int(np.searchsorted(self.starts, index, side="right")) - 1

    def name(self, index: int) -> str:
        """The image's member: folders, key and extension."""
        return os.fsdecode(self.names[self.name_offsets[index] : self.name_offsets[index + 1]].tobytes())

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return sum(getattr(self, name).nbytes for name in _ARRAYS)


def save_index(index: ShardIndex, path: Path) -> None:
    """Write it; it has its name only when it is whole."""
    about = {"format": FORMAT} | {field.name: getattr(index, field.name) for field in fields(index)[:3]}
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    unfinished = path.with_name(f"{path.name}.unfinished")
    with open(unfinished, "wb") as file:
        np.savez(file, about=text, **{name: getattr(index, name) for name in _ARRAYS})
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def load_index(file: BinaryIO, *, path: str) -> ShardIndex:
    """Read what `save_index` wrote; raises InputError, naming `path`, where it is damaged or means what cannot be."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            values = {name: arrays[name] for name in _ARRAYS}
        if about["format"] != FORMAT:
            raise InputError(f"{path} was written by another version of byol-cli; delete it and make it anew")
        index = ShardIndex(
            shards=tuple(map(str, about["shards"])),
            label_member=str(about["label_member"]),
            label_values=tuple(map(str, about["label_values"])),
            **values,
        )
        damaged = not _is_sound(index)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        damaged = True
    if damaged:
        raise InputError(f"{path} is damaged, or no index of shards; delete it and make it anew")
    return index


def _is_sound(index: ShardIndex) -> bool:
    """Whether every number points to where there is something: an index may come from far away."""
    images, shards = len(index.offsets), len(index.shards)
    shapes: dict[str, tuple[int, ...]] = {
        "shard_sizes": (shards,),
        "digests": (shards, 32),
        "starts": (shards + 1,),
        "names": index.names.shape[:1],
        "name_offsets": (images + 1,),
    }
    if any(
        getattr(index, name).shape != shapes.get(name, (images,)) or getattr(index, name).dtype != kind
        for name, kind in _ARRAYS.items()
    ):
        return False
    limits = np.repeat(index.shard_sizes, np.diff(index.starts)) if _rises(index.starts, images) else np.empty(0)
    return (
        all(_is_plain(name) for name in index.shards)
        and len(limits) == images
        and _rises(index.name_offsets, len(index.names))
        and bool((index.offsets >= 0).all() and (index.offsets + index.sizes <= limits).all())
        and bool((index.labels >= -1).all() and (index.labels < len(index.label_values)).all())
    )


def _rises(values: np.ndarray, last: int) -> bool:
    return bool(values[0] == 0 and values[-1] == last and (np.diff(values) >= 0).all())


def _is_plain(name: str) -> bool:
    """Whether a shard's name stays below its folder."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def joined(shards: Sequence[str], scanned: Sequence[ScannedShard], *, label_member: str) -> ShardIndex:
    """The index of shards that were scanned one by one.

    Raises:
        InputError: there are more labels than classes can be.
    """
    found = {label for shard in scanned for label in shard.labels if label}
    if len(found) > MAX_LABELS:
        raise InputError(
            f"dataset.label_member={label_member}: {len(found):,} different labels, such as "
            f"{min(found)[:40]!r}, are no classes; at most {MAX_LABELS:,} are"
        )
    values = sorted(found, key=int if all(map(is_number, found)) else None)
    codes = {value: code for code, value in enumerate(values)} | {"": -1}
    encoded = [os.fsencode(name) for shard in scanned for name in shard.names]
    arrays: dict[str, Any] = {
        "shard_sizes": [shard.size for shard in scanned],
        "digests": np.frombuffer(b"".join(shard.digest for shard in scanned), dtype=np.uint8).reshape(-1, 32),
        "starts": np.cumsum([0, *(len(shard.offsets) for shard in scanned)]),
        "offsets": np.concatenate([shard.offsets for shard in scanned]),
        "sizes": np.concatenate([shard.sizes for shard in scanned]),
        "checksums": np.concatenate([shard.checksums for shard in scanned]),
        "names": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "name_offsets": np.cumsum([0, *map(len, encoded)]),
        "labels": [codes[label] for shard in scanned for label in shard.labels],
    }
    return ShardIndex(
        shards=tuple(shards),
        label_member=label_member,
        label_values=tuple(values),
        **{name: np.asarray(value, dtype=_ARRAYS[name]) for name, value in arrays.items()},
    )


def is_number(text: str) -> bool:
    """Whether a label counts classes from 0."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
