"""The features of every image, a part at a time."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from types import TracebackType

import torch
from torch import Tensor
from tqdm import tqdm

from byol_cli.data.sources import Subset
from byol_cli.export.every_image import EveryImage
from byol_cli.export.parts import Parts
from byol_cli.training.console import say
from byol_cli.training.interrupt import StopRequest

PART_BYTES, PART_SECONDS = 2**25, 60.0
"""A part ends at so many bytes of features (4,096 images of 2,048) or after so long: what a power failure can cost."""


def embed_rest(
    images: EveryImage,
    parts: Parts,
    *,
    features_of: Callable[[Subset], Generator[Tensor, None, None]],
    stop: StopRequest,
) -> None:
    """Bring `parts` to their end, showing how far it has come.

    Args:
        images: all of them.
        parts: what is done.
        features_of: the features of a part of an image set, batch by batch, float32 (batch, dim).
        stop: takes the signals; what was computed before one is kept.

    Raises:
        InputError: an image cannot be read.
        TrainingFault: a part cannot be written, a worker died, features are not finite.
        Interrupted: by a signal.
    """
    pending: list[Tensor] = []
    kept_at = time.monotonic()

    def keep() -> None:
        nonlocal kept_at
        kept_at = time.monotonic()
        if pending:
            parts.add(torch.cat(pending))
            pending.clear()

    try:
        with Progress(total=len(images), done=parts.done) as progress:
            for subset in images.rest(parts.done):
                with closing(features_of(subset)) as batches:
                    for features in batches:
                        pending.append(features)
                        progress.advance(len(features))
                        full = sum(batch.nbytes for batch in pending) >= PART_BYTES
                        if full or time.monotonic() - kept_at >= PART_SECONDS:
                            with stop.finishing():
                                keep()
                            stop.check()
    finally:
        keep()


class Progress:
    """A bar where somebody watches, a line now and then where a log does."""

    LINE_EVERY_SECONDS = 15.0

    def __init__(self, *, total: int, done: int) -> None:
        """`done` of `total` images were embedded before."""
        self._total, self._done, self._last_line = total, done, time.monotonic()
        self._interactive = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, initial=done, unit="img", unit_scale=True, dynamic_ncols=True, disable=not self._interactive
        )

    def advance(self, images: int) -> None:
        """So many more are done."""
        self._bar.update(images)
        self._done += images
        if not self._interactive and time.monotonic() - self._last_line >= self.LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            say(f"{self._done:,} of {self._total:,} images")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
