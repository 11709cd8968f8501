"""Reads tar shards as WebDataset writes them: neighbours whose names differ after the first dot are one sample."""

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from byol_cli.data.decode import EXTENSIONS
from byol_cli.data.shard_index import ScannedShard
from byol_cli.schema.errors import InputError

PICTURES = tuple(extension for extension in EXTENSIONS if extension != ".npy")
MAX_LABEL_BYTES = 2**20
JSON = "json:"
_BLOCK = 2**20


@dataclass(frozen=True)
class Name:
    """A member's name, cut as WebDataset cuts it: folders and all up to the first dot of the last part; the rest."""

    key: str
    extension: str


def cut(name: str) -> Name:
    """`ant/7.left.JPG` becomes `ant/7` and `left.jpg`."""
    folder, slash, last = name.rpartition("/")
    key, _, extension = last.partition(".")
    return Name(f"{folder}{slash}{key}", extension.lower())


def scan_shard(path: Path, *, called: str, label_member: str) -> ScannedShard:
    """Find the image and the label of every sample in the tar file at `path`, in messages `called` so.

    A sample's image is its first picture, or else its first `.npy` array; a sample without either is passed over.

    Raises:
        InputError: the file is missing, cut off, compressed or no tar file, or a label cannot be read.
    """
    images: list[tuple[int, int, int, str, str]] = []
    try:
        size = path.stat().st_size
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for members in _samples(tar, check=lambda member: _refuse_unreadable(member, size, called)):
                image = _image(members)
                if image is not None:
                    data = _content(tar, image)
                    label = _label(tar, members, label_member, called)
                    images.append((image.offset_data, image.size, zlib.crc32(data), image.name, label))
            file.seek(tar.offset)  # where tarfile has stopped, be it the end, a cut or damage
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise InputError(f"{called} is cut off or damaged after {tar.offset:,} bytes")
        digest = sha256(path)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise InputError(f"{called} is no whole tar file, or it is compressed: {error}") from error
    except OSError as error:
        raise InputError(f"{called}: {error.strerror or error}") from error
    offsets, sizes, checksums, names, labels = map(list, zip(*images, strict=True)) if images else ([] for _ in "12345")
    return ScannedShard(
        size=size, digest=digest, offsets=offsets, sizes=sizes, checksums=checksums, names=names, labels=labels
    )


def sha256(path: Path) -> bytes:
    """Of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def _samples(tar: tarfile.TarFile, *, check: Callable[[tarfile.TarInfo], None]) -> Iterator[list[tarfile.TarInfo]]:
    """Neighbouring files of one key; what is no file, or hidden, does not count. Each member is checked first."""

    def visible() -> Iterator[tarfile.TarInfo]:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # it would keep each of them
            check(member)
            if member.isreg() and not member.name.rpartition("/")[2].startswith("."):
                yield member

    for _, members in groupby(visible(), key=lambda member: cut(member.name).key):
        yield list(members)


def _image(members: list[tarfile.TarInfo]) -> tarfile.TarInfo | None:
    for extensions in (PICTURES, ".npy"):
        for member in members:
            if member.name.lower().endswith(extensions):
                return member
    return None


def _refuse_unreadable(member: tarfile.TarInfo, size: int, called: str) -> None:
    """`size` is the tar file's."""
    if member.issparse():
        raise InputError(f"{called}: {member.name} is stored with holes (tar --sparse), which are not read here")
    if member.isreg() and not 0 <= member.size <= size - member.offset_data:
        raise InputError(f"{called} is cut off within {member.name}")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _label(tar: tarfile.TarFile, members: list[tarfile.TarInfo], label_member: str, called: str) -> str:
    """As text; "" where the sample has none."""
    extension, _, field = label_member.partition(":")
    member = next((member for member in members if cut(member.name).extension == extension), None)
    if member is None:
        return ""
    where = f"{called}: {member.name}"
    if member.size > MAX_LABEL_BYTES:
        raise InputError(f"{where} has {member.size:,} bytes, which no label has")
    try:
        text = _content(tar, member).decode("utf-8").strip()
        value = json.loads(text) if field else text
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} cannot be read as {'JSON' if field else 'text'}: {error}") from error
    for part in field.split(".") if field else ():
        value = value.get(part) if isinstance(value, dict) else None
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)):
        return "" if value is None else str(value).strip()
    raise InputError(f"{where}: {field} is neither text nor a whole number")
