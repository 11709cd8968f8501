"""Files far away, by their URLs: http(s) and every object store that fsspec knows; what fails is tried again."""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from byol_cli.schema.errors import InputError

T = TypeVar("T")
Made = TypeVar("Made")

TRIES = 6
FIRST_WAIT_SECONDS = 0.5
"""Doubled after each try: 15 s in all."""

TIMEOUT_SECONDS = 60
"""Without a byte, after which a connection counts as hung."""

PARALLEL = 16
"""Requests at a time."""


class ShortRead(OSError):
    """Fewer or more bytes came than there are."""


def is_url(root: str) -> bool:
    """Whether fsspec reads it, rather than this machine's file system."""
    return "://" in root


def read_range(url: str, start: int, size: int) -> bytes:
    """The `size` bytes of a file from `start` on; raises InputError as `fetch` does."""

    def read(files: Any) -> bytes:
        data = files.cat_file(url, start=start, end=start + size)
        if len(data) != size:
            raise ShortRead(f"{len(data):,} bytes came instead of {size:,}")
        return data

    return _found(url, read)


def read_whole(url: str, *, check: Callable[[bytes], object]) -> bytes | None:
    """All of a small file, None where there is none.

    Args:
        url: of the file.
        check: raises where these are not its bytes.

    Raises:
        InputError: as `fetch` does.
    """

    def read(files: Any) -> bytes:
        data = files.cat_file(url)
        check(data)
        return data

    try:
        return _tried_again(url, read)
    except FileNotFoundError:
        return None


def list_names(url: str) -> list[str]:
    """The names in a folder, none where the place lists nothing; raises InputError as `fetch` does."""
    try:
        listed = _tried_again(url, lambda files: files.ls(url, detail=False))
    except FileNotFoundError:
        return []
    return [name.rstrip("/").rpartition("/")[2] for name in listed]


def fetch(url: str, path: Path, *, check: Callable[[Path], object]) -> None:
    """Copy a file to `path`, which it gets only when it is whole.

    Args:
        url: of the file.
        path: where it is wanted.
        check: raises where the copy is not what it should be.

    Raises:
        InputError: there is no such file, it cannot be had after several tries, or there is no room for it.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")

    def copy(files: Any) -> None:
        files.get_file(url, str(unfinished))
        check(unfinished)

    try:
        _found(url, copy)
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


def all_at_once(do: Callable[[T], Made], things: Sequence[T]) -> Iterator[Made]:
    """What `do` makes of each thing, as it comes, in threads: most of each is waiting. The first error ends all."""
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        for done in as_completed([pool.submit(do, thing) for thing in things]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _found(url: str, attempt: Callable[[Any], T]) -> T:
    try:
        return _tried_again(url, attempt)
    except FileNotFoundError:
        raise InputError(f"{url}: there is no such file") from None


def _tried_again(url: str, attempt: Callable[[Any], T]) -> T:
    """What `attempt` returns, given fsspec's file system; FileNotFoundError passes through."""
    files = _file_system(url)
    for number in range(TRIES):
        try:
            return attempt(files)
        except FileNotFoundError:
            raise
        # Each store has its own kinds of exceptions, many of which are no OSError.
        except Exception as error:
            full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
            if full or number + 1 == TRIES:
                reason = " ".join(str(error).split()) or type(error).__name__
                tries = "" if full else f" after {TRIES} tries"
                raise InputError(f"{url} cannot be read{tries}: {reason}") from error
        time.sleep(FIRST_WAIT_SECONDS * 2**number)
    raise AssertionError("the last try returns or raises")


def _file_system(url: str) -> Any:
    """Made anew in each process: fsspec's own cache sees to it."""
    protocol = url.partition("://")[0]
    options: dict[str, Any] = {"use_listings_cache": False}
    try:
        import fsspec  # late: what lies on this machine needs none of it

        if protocol in ("http", "https"):
            import aiohttp

            limits = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS, sock_read=TIMEOUT_SECONDS)
            options["client_kwargs"] = {"timeout": limits, "trust_env": True}
        return fsspec.filesystem(protocol, **options)
    except ImportError as error:
        raise InputError(
            f"{url}: {protocol}:// needs a package more: pip install 'byol-cli[remote]': {error}"
        ) from error
    except ValueError as error:
        raise InputError(f"{url}: {protocol}:// is not known to fsspec: {error}") from error
