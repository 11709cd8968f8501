"""What the command line asks of a benchmark."""

from dataclasses import dataclass
from pathlib import Path

PEERS = ("lightly", "byol-pytorch")


@dataclass(frozen=True, kw_only=True)
class Options:
    """`peers` are the libraries to compare with, `images` a folder of JPEG files in place of made ones."""

    rounds: int
    peers: tuple[str, ...]
    images: Path | None = None
