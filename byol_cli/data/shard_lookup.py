"""Finds the index of shards, beside them or where it was kept, or builds it once from what the tar files hold."""

import hashlib
import io
import sys
import zipfile
from functools import partial
from pathlib import Path

from tqdm import tqdm

from byol_cli.data.folder_lock import alone_in
from byol_cli.data.remote import ShortRead, fetch
from byol_cli.data.shard_index import INDEX_FILE, ScannedShard, ShardIndex, joined, load_index, save_index
from byol_cli.data.shard_place import ShardPlace
from byol_cli.data.shard_scan import scan_shard
from byol_cli.data.shard_store import FIELD, KeptShards
from byol_cli.data.worker_count import available_cores, default_num_workers
from byol_cli.data.workers import in_workers
from byol_cli.schema.errors import InputError


def say(line: str) -> None:
    """Tell people what takes a while."""
    print(line, file=sys.stderr, flush=True)


def find_index(place: ShardPlace, *, label_member: str, room: KeptShards) -> ShardIndex:
    """The index of the shards at `place`, whose labels are read from `label_member`.

    Args:
        place: where they lie.
        label_member: `cls`, `txt` or `json:KEY`.
        room: where an index that had to be built is kept, unless it has no room at all.

    Raises:
        InputError: there are no shards, or others than the index knows, or one cannot be read.
    """
    data = place.read(INDEX_FILE, check=_check_whole)
    if data is not None:
        path = f"{place.folder}/{INDEX_FILE}"
        index = load_index(io.BytesIO(data), path=path)
        if index.label_member == label_member and place.names in (None, index.shards):
            return _fitting(index, place, path)
    key = hashlib.sha256(f"{place.key}\n{label_member}".encode(errors="surrogateescape")).hexdigest()
    kept = room.folder / f"{key}.index.npz"
    try:
        if not kept.is_file():
            if not room.max_bytes:
                return _built(place, label_member=label_member, room=room)
            with alone_in(room.folder, field=FIELD, log=say):
                if not kept.is_file():  # another process may have built it meanwhile
                    save_index(_built(place, label_member=label_member, room=room), kept)
        with open(kept, "rb") as file:
            return _fitting(load_index(file, path=str(kept)), place, str(kept))
    except OSError as error:
        raise InputError(f"{FIELD}={room.folder}: {error.strerror}") from error


def _check_whole(data: bytes) -> None:
    damaged = zipfile.ZipFile(io.BytesIO(data)).testzip()
    if damaged is not None:
        raise ShortRead(f"its part {damaged} is damaged")


def _fitting(index: ShardIndex, place: ShardPlace, path: str) -> ShardIndex:
    """A folder may hold no shards that its index does not know: images would go unseen."""
    if place.names is None and not place.is_remote:
        unknown = sorted(set(place.present()) - set(index.shards))
        if unknown:
            raise InputError(
                f"{place.folder}/{unknown[0]} is not in the index {path}"
                f"{f', nor are {len(unknown) - 1:,} more' if unknown[1:] else ''}; delete the index to build it anew"
            )
    return index


def _built(place: ShardPlace, *, label_member: str, room: KeptShards) -> ShardIndex:
    names = place.names or tuple(place.present())
    if not names:
        raise InputError(
            f"{place.field}={place.root}: no tar files there, and no {INDEX_FILE} that names them"
            f"{'; a pattern such as train-{0000..0146}.tar names them' if place.is_remote else ''}"
        )
    say(f"{place.root}: building the index of {len(names):,} shards, once")
    if place.is_remote and not room.max_bytes:
        raise InputError(f"{place.field}={place.root}: no {INDEX_FILE} there, and dataset.shards_max_gb=0")
    scan = partial(_fetched_and_scanned, room) if place.is_remote else _scanned
    num_workers = min(default_num_workers(available_cores(), on_gpu=True), len(names))
    made = in_workers(
        partial(scan, label_member, place.folder),
        names,
        num_workers=num_workers if num_workers > 1 else 0,
        timeout_seconds=0,
        pin_memory=False,
    )
    scanned = []
    for shard in tqdm(made, total=len(names), unit="shard", dynamic_ncols=True, disable=None):
        scanned.append(shard)
        if place.is_remote:
            room.take(shard.digest, shard.size)
    index = joined(names, scanned, label_member=label_member)
    if not len(index):
        raise InputError(f"{place.field}={place.root}: its {len(names):,} shards hold no images")
    return index


def _scanned(label_member: str, folder: str, name: str) -> ScannedShard:
    path = f"{folder}/{name}"
    return scan_shard(Path(path), called=path, label_member=label_member)


def _fetched_and_scanned(room: KeptShards, label_member: str, folder: str, name: str) -> ScannedShard:
    """A shard far away has to come here to be looked at; its copy is then one that is kept."""
    url = f"{folder}/{name}"
    scanned = []
    copy = room.folder / f"{hashlib.sha256(url.encode()).hexdigest()}.unfinished"
    fetch(url, copy, check=lambda path: scanned.append(scan_shard(path, called=url, label_member=label_member)))
    copy.rename(room.folder / room.name(scanned[-1].digest))
    return scanned[-1]
