"""Images within tar shards, each read by one request for its bytes alone: no tar file is parsed while training."""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from byol_cli.data.bad_images import BadImage
from byol_cli.data.remote import all_at_once
from byol_cli.data.shard_index import ShardIndex
from byol_cli.data.shard_scan import sha256
from byol_cli.data.shard_store import LocalShards, ShardStore
from byol_cli.schema.errors import InputError

SHOWN = 3  # shards that a message names


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardFiles:
    """The encoded images of all shards, in the order of their index."""

    index: ShardIndex
    store: ShardStore

    def __len__(self) -> int:
        """Number of images."""
        return len(self.index)

    def __getitem__(self, index: int) -> str:
        """Where the image lies: its shard, and its name there."""
        return f"{self.store.path(self.index.shard_of(index))}/{self.name(index)}"

    def name(self, index: int) -> str:
        """Its member in the shard: folders, key and extension."""
        return self.index.name(index)

    def read(self, index: int) -> bytearray:
        """The encoded image.

        Raises:
            BadImage: its file cannot be read, or its bytes are not those that the index knows.
            InputError: a server fails, which is not the image's fault.
        """
        try:
            data = self._bytes(index)
        except OSError as error:
            raise BadImage(self[index], f"the image cannot be read: {error.strerror or error}") from error
        if zlib.crc32(data) != self.index.checksums[index]:
            raise BadImage(self[index], "the shard was changed or damaged since its index was written (CRC-32)")
        return bytearray(data)

    def facts(self, *, skips_bad: bool) -> Iterator[bytes | memoryview]:
        """All names, sizes and checksums. How images are spread over shards does not count, nor where these lie."""
        for part in (self.index.names, self.index.name_offsets, self.index.sizes, self.index.checksums):
            yield part.data

    def check(self) -> None:
        """Look at every shard: that it is there, has its size, and begins and ends with its own images.

        Raises:
            InputError: shards are missing, cut off, exchanged or changed; the first few are named.
        """
        if isinstance(self.store, LocalShards):
            self._check_sizes()
        starts = self.index.starts
        filled = [shard for shard in range(len(self.index.shards)) if starts[shard] < starts[shard + 1]]
        wrong = sorted(shard for shard in all_at_once(self._if_changed, filled) if shard is not None)
        _refuse([self._what_it_is(shard) for shard in wrong])

    def _bytes(self, index: int) -> bytes:
        return self.store.read(self.index.shard_of(index), int(self.index.offsets[index]), int(self.index.sizes[index]))

    def _check_sizes(self) -> None:
        faults = []
        for shard, wanted in enumerate(self.index.shard_sizes.tolist()):
            path = self.store.path(shard)
            try:
                size = os.stat(path).st_size
            except OSError as error:
                missing = isinstance(error, FileNotFoundError)
                faults.append(f"{path} is missing" if missing else f"{path}: {error.strerror}")
                continue
            if size < wanted:
                faults.append(f"{path} is cut off: it has {size:,} bytes, by its index {wanted:,}")
            elif size > wanted:
                faults.append(f"{path} was replaced: it has {size:,} bytes, by its index {wanted:,}")
        _refuse(faults)

    def _if_changed(self, shard: int) -> int | None:
        first, last = int(self.index.starts[shard]), int(self.index.starts[shard + 1]) - 1
        try:
            same = all(zlib.crc32(self._bytes(index)) == self.index.checksums[index] for index in {first, last})
        except OSError as error:
            raise InputError(f"{self.store.path(shard)}: {error.strerror or error}") from error
        return None if same else shard

    def _what_it_is(self, shard: int) -> str:
        path, copy = self.store.path(shard), self.store.copy(shard)
        if copy is not None:
            return f"{copy}, which was fetched from {path}, is damaged; delete it to have it fetched again"
        if isinstance(self.store, LocalShards):
            digest = np.frombuffer(sha256(Path(path)), dtype=np.uint8)
            others = np.flatnonzero((self.index.digests == digest).all(axis=1))
            if len(others):
                return f"{path} holds what belongs into {self.index.shards[others[0]]}: shards were exchanged"
        return f"{path} does not hold the images that its index describes: it was replaced or its images re-ordered"


def _refuse(faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - SHOWN:,} shards more" if len(faults) > SHOWN else ""
        raise InputError(f"{'; '.join(faults[:SHOWN])}{more}")
