"""All shards of a folder: written in parallel, found again after a stop, and compared with the folder."""

import os
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from byol_cli.data.bad_images import BadImages
from byol_cli.data.decode import read_file
from byol_cli.data.folder_lock import alone_in
from byol_cli.data.image_folder import scan_field
from byol_cli.data.labels import Labels, auto_labels, folder_labels, no_labels
from byol_cli.data.shard_index import INDEX_FILE, ScannedShard, joined, load_index, save_index
from byol_cli.data.shards import CLASSES_FILE
from byol_cli.data.workers import in_workers
from byol_cli.schema.errors import InputError
from sharding.plan import PlannedShard, plan
from sharding.write import LABEL_MEMBER, scanned_again, write_shard

T = TypeVar("T")

SUMS_FILE, BAD_FILE = "SHA256SUMS", "bad_images.txt"


@dataclass(frozen=True, kw_only=True)
class Making:
    """What was asked for: the words of scripts/make_shards.py."""

    source: str
    target: Path
    prefix: str
    shard_bytes: int
    labels: str
    skips_bad: bool
    max_bad_images: float
    num_workers: int


def make(making: Making) -> str:
    """Write what is not there yet; returns what there is, in words.

    Raises:
        InputError: there are no images, one cannot be read, or the folder holds other shards.
        OSError: the folder cannot be used.
    """
    target = making.target
    shards, labels = _planned(making)
    names = [shard.name for shard in shards]
    with alone_in(target, field="make_shards.py", log=print):
        strangers = sorted({path.name for path in target.glob("*.tar")} - set(names))
        if strangers:
            raise InputError(f"{target} holds {strangers[0]}, which these shards do not have; name an empty folder")
        scanned = list(_written(making, shards))
        if labels.class_names:
            (target / CLASSES_FILE).write_text("".join(f"{name}\n" for name in labels.class_names), encoding="utf-8")
        index = joined(names, scanned, label_member=LABEL_MEMBER)
        if not len(index):
            raise InputError(
                f"{making.source}: none of its {sum(len(shard.paths) for shard in shards):,} images can be read"
            )
        save_index(index, target / INDEX_FILE)
    size = int(index.shard_sizes.sum())
    return f"{target}: {len(index):,} images in {len(names):,} shards, {size / 1e9:,.2f} GB, {labels.origin}"


def verify(making: Making) -> str:
    """Compare the shards, their index and the folder, byte by byte; returns what was found good, in words.

    Raises:
        InputError: something differs; the first shard that does is named.
        OSError: the folder cannot be used.
    """
    path = making.target / INDEX_FILE
    if not path.is_file():
        raise InputError(f"{path}: there is none, the shards are not finished; leave out --verify to go on")
    with open(path, "rb") as file:
        index = load_index(file, path=str(path))
    shards, _ = _planned(making)
    if [shard.name for shard in shards] != list(index.shards):
        raise InputError(
            f"{making.target} holds {len(index.shards):,} shards, of {making.source} {len(shards):,} are made"
        )
    compare = partial(_compared, making.target, making.skips_bad)
    scanned = list(_in_workers(making, compare, shards))
    again = joined(index.shards, scanned, label_member=LABEL_MEMBER)
    for number, name in enumerate(index.shards):
        if (again.digests[number] != index.digests[number]).any():
            raise InputError(f"{making.target / name} is not as its index has it (SHA-256)")
    return (
        f"{making.target}: {len(index):,} images in {len(shards):,} shards are those of {making.source}, byte by byte"
    )


def _planned(making: Making) -> tuple[list[PlannedShard], Labels]:
    paths = scan_field("root", making.source)
    if making.labels == "none":
        labels = no_labels("--labels=none")
    else:
        labels = (folder_labels if making.labels == "folders" else auto_labels)(paths, None)
    return plan(paths, labels.train, prefix=making.prefix, shard_bytes=making.shard_bytes), labels


def _written(making: Making, shards: list[PlannedShard]) -> Iterator[ScannedShard]:
    """Each shard when it is whole: first its bad images are listed, then its SHA-256, by which it will be kept."""
    bad_images = BadImages(
        num_images=sum(len(shard.paths) for shard in shards),
        max_share=making.max_bad_images,
        say=partial(print, file=sys.stderr),
    )
    bad_images.keep_in(making.target / BAD_FILE)
    path = making.target / SUMS_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    known = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    write = partial(write_shard, making.target, known, making.skips_bad)
    with closing(_in_workers(making, write, shards)) as made:
        for shard, written in zip(shards, made, strict=True):
            for bad in written.bad:
                bad_images.note(bad)
            known[shard.name] = written.scanned.digest.hex()
            _replace(path, "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items())))
            yield written.scanned


def _in_workers(
    making: Making, do: Callable[[PlannedShard], T], shards: list[PlannedShard]
) -> Generator[T, None, None]:
    """What `do` makes of each shard, in order, with a progress bar."""
    num_workers = min(making.num_workers, len(shards))
    made = in_workers(
        do, shards, num_workers=num_workers if num_workers > 1 else 0, timeout_seconds=0, pin_memory=False
    )
    total = sum(len(shard.paths) for shard in shards)
    with closing(made), tqdm(total=total, unit="img", unit_scale=True, dynamic_ncols=True, disable=None) as bar:
        for shard, one in zip(shards, made, strict=True):
            yield one
            bar.update(len(shard.paths))


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def _compared(target: Path, skips_bad: bool, shard: PlannedShard) -> ScannedShard:
    """What a shard holds; raises InputError where that is not what lies in the folder."""
    path = target / shard.name
    scanned = scanned_again(path)
    found = dict(zip(scanned.names, zip(scanned.sizes, scanned.checksums, strict=True), strict=True))
    for member, source in zip(shard.members, shard.paths, strict=True):
        if member not in found and skips_bad:
            continue
        data = read_file(source)
        if found.get(member) != (len(data), zlib.crc32(data)):
            raise InputError(f"{path}: {member} is not {source}, byte by byte")
    return scanned
