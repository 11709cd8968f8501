"""Images that cannot be read: what one is, and how many of them a run puts up with (dataset.on_bad_image=skip)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from byol_cli.schema.errors import InputError

T = TypeVar("T")

_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})


class BadImage(InputError):
    """An image that cannot be read: the path of its file, and the reason in words."""

    def __init__(self, path: str, reason: str) -> None:
        """Both are kept, and survive pickling."""
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return ": ".join(self.args)


class BadImages:
    """Counts each file that could not be read once, and lists it in a text file: path, tab, reason."""

    def __init__(self, *, num_images: int, max_share: float, say: Callable[[str], None]) -> None:
        """None is known yet.

        Args:
            num_images: of the whole data set.
            max_share: in [0, 1], what part of them may be unreadable: dataset.max_bad_images.
            say: is told in one line of the first one, and where the list cannot be written.
        """
        self.num_images, self.max_share, self.say = num_images, max_share, say
        self._reasons: dict[str, str] = {}
        self._told = 0
        self._list: Path | None = None

    @property
    def count(self) -> int:
        """How many files could not be read so far; in a run that goes on, those of before with them."""
        return len(self._reasons)

    def keep_in(self, path: Path) -> None:
        """List them in the file at `path` from now on; those that it lists already are known and count."""
        met_before, self._reasons = self._reasons, {}
        try:
            if path.exists():
                lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
                self._reasons = {name: reason for name, _, reason in (line.partition("\t") for line in lines)}
            self._list = path
        except OSError as error:
            self._say_that_none_is_listed(path, error)
        for name, reason in met_before.items():
            self._add(name, reason)

    def note(self, bad: BadImage) -> None:
        """Count and list one, unless it is known.

        Raises:
            InputError: there are too many.
        """
        name = bad.path.translate(_ESCAPES)
        if not self._reasons:
            self.say(
                f"warning: {bad}; dataset.on_bad_image=skip goes on without it, "
                f"and stops above dataset.max_bad_images={self.max_share:g} of {self.num_images:,} images"
            )
        self._add(name, bad.reason)
        if self.count > self.max_share * self.num_images:
            first, reason = next(iter(self._reasons.items()))
            listed = "" if self._list is None else f"; {self._list} lists them"
            raise InputError(
                f"{self.count:,} of {self.num_images:,} images cannot be read so far, which is above "
                f"dataset.max_bad_images={self.max_share:g}; the first is {first}: {reason}{listed}"
            )

    def take_new(self) -> list[BadImage]:
        """Those that were noted since this was asked last, for other processes to note them too."""
        new = list(self._reasons.items())[self._told :]
        self._told = self.count
        return [BadImage(path, reason) for path, reason in new]

    def _add(self, name: str, reason: str) -> None:
        if name in self._reasons:
            return
        self._reasons[name] = reason
        if self._list is None:
            return
        try:
            with self._list.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{name}\t{reason.translate(_ESCAPES)}\n")
        except OSError as error:
            self._say_that_none_is_listed(self._list, error)
            self._list = None

    def _say_that_none_is_listed(self, path: Path, error: OSError) -> None:
        self.say(f"warning: images that cannot be read are counted, but not listed in {path}: {error.strerror}")


def readable(read: Callable[[int], T], sample: np.ndarray, *, skips_bad: bool) -> Iterator[T]:
    """`read(index)` for each index of a `sample`; with `skips_bad`, images that cannot be read are left out.

    Raises:
        InputError: an image cannot be read and is not to be left out, or none can.
    """
    first_bad, any_good = None, False
    for index in sample.tolist():
        try:
            made = read(index)
        except BadImage as bad:
            if not skips_bad:
                raise
            first_bad = first_bad or bad
            continue
        any_good = True
        yield made
    if first_bad is not None and not any_good:
        raise InputError(f"none of {len(sample):,} images spread over the set can be read; the first is {first_bad}")
