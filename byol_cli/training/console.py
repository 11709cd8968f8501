"""A bar where somebody watches, plain lines where a file or a log does."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

from byol_cli.training.ranks import is_first


def say(line: str) -> None:
    """Print a line without tearing a bar; of several processes the first one speaks."""
    if is_first():
        tqdm.write(line, file=sys.stderr)


class Progress:
    """Progress over the run's images: epoch, loss, feature std, images a second and time left."""

    LINE_EVERY_SECONDS = 15.0

    def __init__(self, *, total_images: int, done_images: int, num_epochs: int) -> None:
        """`total_images` are the run's, `done_images` of them before it was resumed."""
        self.num_epochs = num_epochs
        self.interactive = is_first() and sys.stderr.isatty()
        self._bar = tqdm(
            total=total_images,
            initial=done_images,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not self.interactive,
        )
        self._started = self._last_line = time.monotonic()
        self._initial = self._done = done_images
        self._total = total_images

    def advance(self, images: int) -> None:
        """`images` more have been trained on."""
        self._bar.update(images)
        self._done += images

    def show(self, *, epoch: int, loss: float, feature_std: float | None) -> None:
        """Show the newest figures."""
        std = "" if feature_std is None else f"std {feature_std:.2f}"
        figures = f"loss {loss:.3f}  {std}".rstrip()
        if self.interactive:
            self._bar.set_description_str(f"epoch {epoch}/{self.num_epochs}", refresh=False)
            self._bar.set_postfix_str(figures)
        elif (now := time.monotonic()) - self._last_line >= self.LINE_EVERY_SECONDS or self._done >= self._total:
            self._last_line = now
            rate = (self._done - self._initial) / (now - self._started)
            left = tqdm.format_interval((self._total - self._done) / rate)
            say(f"epoch {epoch}/{self.num_epochs}  {figures}  {rate:,.0f} img/s  {left} left")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
