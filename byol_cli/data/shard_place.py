"""What `dataset.root` of shards names: a folder, a URL, one tar file, or a pattern such as `train-{0000..0146}.tar`."""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from byol_cli.data.remote import is_url, list_names, read_whole
from byol_cli.schema.errors import InputError

SUFFIX = ".tar"
MAX_SHARDS = 10**6
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,18})\.\.(\d{1,18})")


@dataclass(frozen=True, kw_only=True)
class ShardPlace:
    """Where shards lie.

    Attributes:
        field: the setting that names them, for messages.
        root: as it was typed.
        folder: which all of them are in or below, a path or a URL.
        names: of the shards, relative to it; None for all that are there.
    """

    field: str
    root: str
    folder: str
    names: tuple[str, ...] | None

    @property
    def is_remote(self) -> bool:
        """Whether it is a URL."""
        return is_url(self.folder)

    @property
    def key(self) -> str:
        """What tells this place from others."""
        return self.root if self.is_remote else os.path.realpath(self.root)

    def read(self, name: str, *, check: Callable[[bytes], object] = len) -> bytes | None:
        """A small file beside the shards, None where there is none; raises InputError where it cannot be read.

        From a URL it is read again where `check` raises.
        """
        path = f"{self.folder}/{name}"
        if self.is_remote:
            return read_whole(path, check=check)
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error

    def present(self) -> list[str]:
        """The names of the tar files that are there, sorted; raises InputError where there is no such folder."""
        if self.is_remote:
            return sorted(name for name in list_names(self.folder) if name.endswith(SUFFIX))
        try:
            return sorted(name for name in os.listdir(self.folder) if name.endswith(SUFFIX) and name[0] != ".")
        except OSError as error:
            raise InputError(f"{self.field}={self.root}: {error.strerror}") from error


def shard_place(field: str, root: str) -> ShardPlace:
    """Read the setting `field`, whose value is `root`; raises InputError for a pattern that cannot be."""
    typed = root.rstrip("/") if is_url(root) else os.path.expanduser(root).rstrip(os.sep) or os.sep
    if not typed.endswith(SUFFIX) and "{" not in typed:
        return ShardPlace(field=field, root=typed, folder=typed, names=None)
    plain = typed.partition("{")[0]
    folder, slash, _ = plain.rpartition("/")
    names = tuple(itertools.islice(expanded(typed[len(folder) + len(slash) :]), MAX_SHARDS + 1))
    if len(names) > MAX_SHARDS:
        raise InputError(f"{field}={root} stands for more than {MAX_SHARDS:,} shards")
    repeated = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if repeated is not None:
        raise InputError(f"{field}={root} names {repeated} twice")
    return ShardPlace(field=field, root=typed, folder=folder or (slash or "."), names=names)


def expanded(pattern: str) -> Iterator[str]:
    """The names that a pattern stands for, in the shell's order: `{08..11}` counts, `{a,b}` lists."""
    parts = _BRACES.split(pattern)
    choices = [[text] if number % 2 == 0 else _choices(text) for number, text in enumerate(parts)]
    return map("".join, itertools.product(*choices))


def _choices(inside: str) -> "list[str] | _Numbers":
    numbers = _RANGE.fullmatch(inside)
    return inside.split(",") if numbers is None else _Numbers(*numbers.groups())


class _Numbers:
    """`08..11`: as many digits as the longer end has, where one begins with a zero."""

    def __init__(self, first: str, last: str) -> None:
        self.first, self.last = int(first), int(last)
        padded = any(end.startswith("0") and len(end) > 1 for end in (first, last))
        self.width = max(len(first), len(last)) if padded else 0

    def __iter__(self) -> Iterator[str]:
        step = 1 if self.first <= self.last else -1
        count = min(abs(self.last - self.first), MAX_SHARDS) + 1
        return (f"{self.first + step * number:0{self.width}d}" for number in range(count))
