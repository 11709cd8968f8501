"""Writes a folder of images into tar shards, for dataset=shards and for any other reader of WebDataset's format.

python scripts/make_shards.py photos shards [--shard-size 256MB] [--workers 2] [--labels auto|folders|none]
                              [--on-bad-image fail|skip] [--max-bad-images 0.01] [--prefix train] [--verify]

The order of the images is that of dataset=image_folder, so that both train alike, bit for bit. Run again after it was
stopped, it goes on: shards that are whole by their SHA-256 stay. Beside the shards it writes index.npz, SHA256SUMS and,
where there are classes, classes.txt. --verify reads finished shards and the folder, and compares them byte by byte.
"""

import argparse
import re
import sys
from pathlib import Path

from byol_cli.cli.command import DONE, guarded
from byol_cli.schema.errors import InputError

PROGRAM = "make_shards.py"
UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def main(argv: list[str]) -> int:
    """The command; returns its exit code."""
    words = parse(argv)
    shard_bytes = size_in_bytes(words.shard_size)
    if words.workers is not None and words.workers < 1:
        raise InputError(f"--workers={words.workers} must be at least 1")
    if not 0 < words.max_bad_images <= 1:
        raise InputError(f"--max-bad-images={words.max_bad_images:g} must be in (0, 1]")
    if not re.fullmatch(r"[\w-]+", words.prefix):
        raise InputError(f"--prefix={words.prefix} must be letters, digits, - and _")

    from sharding.make import Making, make, verify

    from byol_cli.data.worker_count import available_cores

    making = Making(
        source=words.source,
        target=words.target,
        prefix=words.prefix,
        shard_bytes=shard_bytes,
        labels=words.labels,
        skips_bad=words.on_bad_image == "skip",
        max_bad_images=words.max_bad_images,
        num_workers=words.workers or available_cores(),
    )
    try:
        print((verify if words.verify else make)(making))
    except OSError as error:
        raise InputError(f"{error.filename or words.target}: {error.strerror}") from error
    return DONE


def parse(argv: list[str]) -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a folder of images, however nested")
    parser.add_argument("target", type=Path, help="the folder for the shards")
    parser.add_argument("--shard-size", default="256MB", help="a shard is at most so large (default: 256MB)")
    parser.add_argument("--workers", type=int, help="processes (default: as many as there are cores)")
    parser.add_argument("--labels", choices=("auto", "folders", "none"), default="auto", help="as dataset.labels")
    parser.add_argument("--on-bad-image", choices=("fail", "skip"), default="fail", help="as dataset.on_bad_image")
    parser.add_argument("--max-bad-images", type=float, default=0.01, help="as dataset.max_bad_images")
    parser.add_argument("--prefix", default="shard", help="shards are called PREFIX-000000.tar ... (default: shard)")
    parser.add_argument("--verify", action="store_true", help="compare finished shards with the folder")
    return parser.parse_intermixed_args(argv)


def size_in_bytes(text: str) -> int:
    """`256MB`, `1GiB` or a number of bytes; raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?b)?", text.strip().lower())
    size = int(float(match[1]) * UNITS[match[2] or ""]) if match else 0
    if size < 1:
        raise InputError(f"--shard-size={text} must be a size such as 256MB or 1GiB")
    return size


if __name__ == "__main__":
    sys.exit(guarded(PROGRAM, lambda: main(sys.argv[1:])))
