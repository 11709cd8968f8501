"""Bytes of shards: from files that lie here, or from far away, whole shards kept here as far as there is room."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np
from tqdm import tqdm

from byol_cli.data.folder_lock import alone_in
from byol_cli.data.remote import ShortRead, all_at_once, fetch, read_range
from byol_cli.data.shard_index import ShardIndex
from byol_cli.data.shard_scan import sha256
from byol_cli.schema.errors import InputError

FIELD = "dataset.shards_dir"
MAX_OPEN_FILES = 64


class ShardStore(Protocol):
    """Shards by their numbers."""

    def path(self, shard: int) -> str:
        """Where the shard lies, as people know it."""

    def copy(self, shard: int) -> str | None:
        """The file on this machine that a shard of elsewhere is read from; None where there is none."""

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Some of its bytes, fewer where it ends; raises OSError, or InputError where a server fails."""


class OpenFiles:
    """Reads parts of files, the last few of which stay open. A copy in another process opens them itself."""

    def __init__(self) -> None:
        """None is open yet."""
        self._open = lru_cache(MAX_OPEN_FILES)(_opened)

    def __reduce__(self) -> tuple[type["OpenFiles"], tuple[()]]:
        return OpenFiles, ()

    def read(self, path: str, offset: int, size: int) -> bytes:
        """By one call that moves no place in the file, so that processes may share it."""
        file = self._open(path)  # held, so that another thread that opens one more does not close it
        return os.pread(file.fileno(), size, offset)


def _opened(path: str) -> BinaryIO:
    if path.endswith(KeptShards.SUFFIX):
        _note_use(path)
    return cast(BinaryIO, open(path, "rb", buffering=0))


def _note_use(path: str) -> None:
    with suppress(PermissionError):  # somebody else may have fetched it
        os.utime(path)


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalShards:
    """Shards in a folder."""

    folder: str
    names: Sequence[str]
    files: OpenFiles = field(default_factory=OpenFiles)

    def path(self, shard: int) -> str:
        """Where the shard lies."""
        return os.path.join(self.folder, self.names[shard])

    def copy(self, shard: int) -> None:
        """None: it is read where it lies."""

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Some of its bytes, fewer where it ends; raises OSError."""
        return self.files.read(self.path(shard), offset, size)


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptShards:
    """A folder of fetched shards, each named by its content, of a limited size; other runs may use it too.

    Attributes:
        folder: where they are kept.
        max_bytes: of all shards in it together.
        claimed: the names of those that this run uses, which are never thrown out for others of its own.
    """

    SUFFIX = ".shard"

    folder: Path
    max_bytes: float
    claimed: dict[str, int] = field(default_factory=dict)

    def name(self, digest: bytes) -> str:
        """Of the file that holds a shard of this SHA-256."""
        return f"{digest.hex()}{self.SUFFIX}"

    def claim(self, index: ShardIndex) -> np.ndarray:
        """Which shards will be kept, bool (shards,): the first ones, as many as fit beside those claimed before."""
        names = [self.name(digest.tobytes()) for digest in index.digests]
        others = sum(size for name, size in self.claimed.items() if name not in set(names))
        kept = others + np.cumsum(index.shard_sizes) <= self.max_bytes
        self.claimed.update(zip(np.array(names)[kept].tolist(), index.shard_sizes[kept].tolist(), strict=True))
        return kept

    def take(self, digest: bytes, size: int) -> None:
        """Claim a shard that has just come, or throw it out where it does not fit; the folder's lock must be held."""
        name = self.name(digest)
        if name not in self.claimed and sum(self.claimed.values()) + size > self.max_bytes:
            (self.folder / name).unlink(missing_ok=True)
        else:
            self.claimed[name] = size
            self.make_room(0)

    def make_room(self, needed: int) -> None:
        """Throw out what was used longest ago until `needed` bytes more fit; the folder's lock must be held.

        Raises:
            InputError: the disk has no room.
        """
        present = sorted(self.folder.glob(f"*{self.SUFFIX}"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in present)
        for path in present:
            if total + needed > self.max_bytes and path.name not in self.claimed:
                total -= path.stat().st_size
                path.unlink()
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise InputError(
                f"{FIELD}={self.folder}: {needed / 1e9:,.2f} GB of shards are to be kept there and "
                f"{free / 1e9:,.2f} GB are free; a smaller dataset.shards_max_gb reads the rest image by image"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteShards:
    """Shards at a URL. An image of one that is not kept here is read alone, by one request.

    The order of a run's images is random over all shards, so that fetching a whole one for each image that is wanted
    would read the data set hundreds of times.
    """

    url: str
    index: ShardIndex
    room: KeptShards
    kept: np.ndarray
    files: OpenFiles = field(default_factory=OpenFiles)

    def path(self, shard: int) -> str:
        """Its URL."""
        return f"{self.url}/{self.index.shards[shard]}"

    def copy(self, shard: int) -> str | None:
        """The kept file, or None where its images are read one by one."""
        return self._here(shard) if self.kept[shard] else None

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Some of its bytes; raises OSError, or InputError where the server fails."""
        if not self.kept[shard]:
            return read_range(self.path(shard), offset, size)
        try:
            return self.files.read(self._here(shard), offset, size)
        except FileNotFoundError:  # another run needed its room
            self.keep([shard], log=lambda _: None)
            return self.files.read(self._here(shard), offset, size)

    def keep(self, shards: Sequence[int], *, log: Callable[[str], None]) -> None:
        """Fetch those that are not here yet, with a progress bar; one process at a time.

        Raises:
            InputError: one cannot be had or is not what the index describes, or there is no room.
        """
        if not shards:
            return
        with alone_in(self.room.folder, field=FIELD, log=log):
            missing = list({self._here(shard): shard for shard in shards if not self._is_here(shard)}.values())
            sizes = self.index.shard_sizes[missing]
            self.room.make_room(int(sizes.sum()))
            if missing:
                log(f"fetching {len(missing):,} shards, {sizes.sum() / 1e9:,.2f} GB, into {self.room.folder}, once")
            bar = tqdm(total=int(sizes.sum()), unit="B", unit_scale=True, dynamic_ncols=True, disable=None)
            with bar:
                for shard in all_at_once(self._fetch, missing):
                    bar.update(int(self.index.shard_sizes[shard]))

    def _here(self, shard: int) -> str:
        return str(self.room.folder / self.room.name(self.index.digests[shard].tobytes()))

    def _is_here(self, shard: int) -> bool:
        path = self._here(shard)
        try:
            _note_use(path)
            return os.stat(path).st_size == self.index.shard_sizes[shard]
        except FileNotFoundError:
            return False

    def _fetch(self, shard: int) -> int:
        fetch(self.path(shard), Path(self._here(shard)), check=partial(self._check, shard))
        return shard

    def _check(self, shard: int, copy: Path) -> None:
        size, wanted = copy.stat().st_size, int(self.index.shard_sizes[shard])
        if size != wanted:
            raise ShortRead(f"{size:,} bytes came, by its index it has {wanted:,}: it is cut off or was replaced")
        if sha256(copy) != self.index.digests[shard].tobytes():
            raise ShortRead("its content is not what its index describes (SHA-256): it was replaced or damaged")
