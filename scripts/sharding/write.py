"""Writes a shard, reads it again, and gives it its name."""

import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from byol_cli.data.bad_images import BadImage
from byol_cli.data.decode import count_channels, decode_data, read_file
from byol_cli.data.shard_index import ScannedShard
from byol_cli.data.shard_scan import scan_shard, sha256
from byol_cli.schema.errors import InputError
from sharding.plan import PlannedShard

LABEL_MEMBER = "cls"


@dataclass(frozen=True, kw_only=True)
class Written:
    """A shard that is whole: what it holds, and what could not be read."""

    scanned: ScannedShard
    bad: list[BadImage]


def write_shard(target: Path, known: dict[str, str], skips_bad: bool, shard: PlannedShard) -> Written:
    """The shard in the folder `target`: kept where `known` lists the SHA-256 that it has, else written.

    It is written anew too where an image has another size than in it, or is younger than it.

    Raises:
        InputError: it cannot be written, or not be read again as it was meant.
    """
    path = target / shard.name
    unfinished = target / f"{shard.name}.unfinished"
    try:
        if shard.name in known and path.is_file() and path.stat().st_mtime_ns > shard.youngest:
            scanned = scanned_again(path) if sha256(path).hex() == known[shard.name] else None
            if scanned is not None and _fits(scanned, shard):
                return Written(scanned=scanned, bad=[])
        bad = _write(unfinished, shard, skips_bad=skips_bad)
        scanned = scanned_again(unfinished)
        if len(scanned.names) + len(bad) != len(shard.members) or not _fits(scanned, shard):
            raise InputError(f"{unfinished} does not hold what was written into it; is the disk sound?")
        unfinished.rename(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return Written(scanned=scanned, bad=bad)


def scanned_again(path: Path) -> ScannedShard:
    """What a finished shard holds; raises InputError where it is missing or not whole."""
    return scan_shard(path, called=str(path), label_member=LABEL_MEMBER)


def _check_image(data: bytearray, path: str) -> None:
    """Decode it as training will; raises BadImage."""
    channels = count_channels(data, path=path)
    decode_data(data, channels, path=path)


def _write(path: Path, shard: PlannedShard, *, skips_bad: bool) -> list[BadImage]:
    bad = []
    with open(path, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for number, source in enumerate(shard.paths):
                try:
                    data = read_file(source)
                    _check_image(data, source)
                except BadImage as reason:
                    if not skips_bad:
                        raise InputError(f"{reason}; --on-bad-image=skip leaves it out") from None
                    bad.append(reason)
                    continue
                member = shard.members[number]
                _add(tar, member, bytes(data))
                if shard.labels is not None and shard.labels[number] >= 0:
                    key = os.path.splitext(member)[0]
                    _add(tar, f"{key}.{LABEL_MEMBER}", str(shard.labels[number]).encode())
        file.flush()
        os.fsync(file.fileno())
    return bad


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """No owner and no time: the same images give the same shards, byte for byte."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))


def _fits(scanned: ScannedShard, shard: PlannedShard) -> bool:
    """Whether its images, sizes and labels are among those planned, in their order."""
    labels = shard.labels or (-1,) * len(shard.members)
    words = ("" if label < 0 else str(label) for label in labels)
    planned = iter(zip(shard.members, shard.sizes, words, strict=True))
    return all(held in planned for held in zip(scanned.names, scanned.sizes, scanned.labels, strict=True))
