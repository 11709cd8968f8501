"""The SHA-256 of a checkpoint, and the file beside it that lists it."""

import hashlib
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20
_LONGEST_LIST = 1 << 16  # bytes; two lines are written


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return sha256_of_file(file)


def sha256_of_file(file: BinaryIO) -> str:
    """In hexadecimal, of what is left to read of an open file."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def digest_file(path: Path) -> Path:
    """`NAME.sha256` beside `path`."""
    return path.with_name(f"{path.name}.sha256")


def listed_digests(path: Path) -> list[str]:
    """The digests that are listed for the checkpoint `path`, the newest first; none where there is no such file.

    Each line is `HEX  NAME`. A file that is damaged lists none that fits.
    """
    digests = digest_file(path)
    if not digests.is_file():
        return []
    with digests.open("rb") as file:
        lines = file.read(_LONGEST_LIST).decode("ascii", errors="replace").splitlines()
    return [line.split()[0] for line in lines if line.strip()]
