"""Builds the cache of decoded images: all cores decode, one file takes the pixels, on disk or in memory."""

import hashlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from byol_cli.data.bad_images import BadImage, BadImages, readable
from byol_cli.data.evenly_spaced import evenly_spaced
from byol_cli.data.folder_lock import alone_in
from byol_cli.data.images import FileImages, image_or_reason
from byol_cli.data.pieces import Piece, pixels_alone, split_into_pieces
from byol_cli.data.pixel_file import PixelFile, is_whole, pack, write_pixels
from byol_cli.data.room import available_memory
from byol_cli.data.worker_count import available_cores, default_num_workers, workers_that_fit
from byol_cli.data.workers import in_workers
from byol_cli.schema.dataset import FilesConfig
from byol_cli.schema.errors import InputError
from byol_cli.views.geometry import resize_short_side

FORMAT = 1
"""To be raised when the same files come to give other pixels, so that no cache from before is taken."""

SAMPLE = 32
"""Images that are decoded to estimate the size of all."""

SHARE_OF_ROOM = 0.9
"""What a cache may take of the disk or memory that is free; the rest is for the run itself."""

Log = Callable[[str], None]

_in_memory: dict[str, PixelFile] = {}


def found_or_built_on_disk(
    images: FileImages, config: FilesConfig, *, bad_images: BadImages, timeout_seconds: float, log: Log
) -> PixelFile:
    """The file of these pixels in `config.cache_dir`, named by all that they depend on.

    It has that name only when it is whole. One process at a time builds in a folder; another that wants the same file
    waits, and finds it.

    Raises:
        InputError: an image cannot be read, the folder cannot be used, or there is no room for the file.
        TrainingFault: a worker died or hangs.
    """
    began = time.monotonic()
    key = pixels_key(images, config.cache_short_side)
    folder = Path(config.cache_dir).expanduser()
    path = folder / f"{key}.pixels"
    built = False
    try:
        if not is_whole(path, key=key):
            with alone_in(folder, field="dataset.cache=disk", log=log):
                if built := not is_whole(path, key=key):
                    fill = partial(
                        _fill,
                        images=images,
                        config=config,
                        key=key,
                        bad_images=bad_images,
                        timeout_seconds=timeout_seconds,
                        log=log,
                    )
                    _build_on_disk(path, fill, log=log)
        pixels = PixelFile(path, key=key)
        log(_summary(pixels, images, config, f"in {folder}", built, began))
    except OSError as error:
        raise InputError(f"dataset.cache_dir={config.cache_dir}: {error.strerror}") from error
    return pixels


def found_or_built_in_memory(
    images: FileImages, config: FilesConfig, *, bad_images: BadImages, timeout_seconds: float, log: Log
) -> PixelFile:
    """A file of these pixels that lasts until this process ends, so that the jobs of a sweep share it.

    On Linux it has no place on any disk, and workers open it through this process; elsewhere it is a temporary file.

    Raises:
        InputError: an image cannot be read, or there is no room for the file.
        TrainingFault: a worker died or hangs.
    """
    began = time.monotonic()
    key = pixels_key(images, config.cache_short_side)
    built = key not in _in_memory
    try:
        if built:
            pixels, free = _empty_in_memory(key)
            with open(pixels.path, "wb") as file:
                _fill(
                    file,
                    images=images,
                    config=config,
                    key=key,
                    free=free,
                    place="memory",
                    bad_images=bad_images,
                    timeout_seconds=timeout_seconds,
                    log=log,
                )
            _in_memory[key] = pixels
        log(_summary(_in_memory[key], images, config, "in memory", built, began))
    except OSError as error:
        raise InputError(f"dataset.cache=ram: {error.strerror}") from error
    return _in_memory[key]


def pixels_key(images: FileImages, short_side: int) -> str:
    """SHA-256 over all that the pixels depend on, in hexadecimal; raises InputError where a file has gone."""
    return hashlib.sha256(f"{FORMAT} {short_side} {images.fingerprint}".encode()).hexdigest()


def shrink(image: Tensor, short_side: int) -> Tensor:
    """Resize (bicubic, antialiased) to a short side of `short_side` pixels; a smaller image stays as it is.

    Args:
        image: uint8 (channels, height, width).
        short_side: in pixels.
    """
    if min(image.shape[1:]) <= short_side:
        return image
    return resize_short_side(image, short_side)


def _build_on_disk(path: Path, fill: Callable[..., None], *, log: Log) -> None:
    if path.exists():
        log(f"dataset.cache=disk: {path} is damaged or cut off; it is built again")
        path.unlink()
    unfinished = path.with_suffix(".unfinished")
    try:
        with open(unfinished, "wb") as file:
            fill(file, free=shutil.disk_usage(path.parent).free, place=str(path.parent))
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _empty_in_memory(key: str) -> tuple[PixelFile, int]:
    """A file to be filled, at a path by which every process can open it, and the bytes that it can take.

    It goes with the last reference to it, at the latest when this process ends.
    """
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("byol-cli")
        pixels = PixelFile(Path(f"/proc/{os.getpid()}/fd/{number}"), key=key)
        weakref.finalize(pixels, os.close, number)
        return pixels, available_memory()
    number, name = tempfile.mkstemp(prefix="byol-cli-")
    os.close(number)
    pixels = PixelFile(Path(name), key=key)
    weakref.finalize(pixels, os.unlink, name)
    return pixels, shutil.disk_usage(tempfile.gettempdir()).free


def _fill(
    file: BinaryIO,
    *,
    images: FileImages,
    config: FilesConfig,
    key: str,
    free: int,
    place: str,
    bad_images: BadImages,
    timeout_seconds: float,
    log: Log,
) -> None:
    sample = evenly_spaced(len(images), at_most=SAMPLE)
    sizes = [
        shrink(image, config.cache_short_side).nbytes
        for image in readable(images.image, sample, skips_bad=images.skips_bad)
    ]
    image_bytes = sum(sizes) / len(sizes)
    estimate = image_bytes * len(images)
    size = f"about {_gb(estimate)} ({len(images):,} images, dataset.cache_short_side={config.cache_short_side})"
    if estimate > SHARE_OF_ROOM * free:
        raise InputError(
            f"dataset.cache={config.cache} needs {size}, but of the {_gb(free)} free in {place} it may take "
            f"{SHARE_OF_ROOM:.0%}; a smaller dataset.cache_short_side needs less"
        )
    log(f"dataset.cache={config.cache}: decoding into {place}, once; this takes {size}")
    pieces = split_into_pieces(np.arange(len(images)), image_bytes=round(image_bytes))
    made = in_workers(
        partial(_decoded, images, config.cache_short_side),
        pieces,
        num_workers=workers_that_fit(
            default_num_workers(available_cores(), on_gpu=True), image_bytes=round(image_bytes), log=log
        ),
        timeout_seconds=timeout_seconds,
        pin_memory=False,
    )
    packed = pixels_alone(made, report=lambda _, bad: bad_images.note(bad))
    bar = tqdm(total=len(images), unit="img", unit_scale=True, dynamic_ncols=True, disable=None)  # None: by terminal
    with closing(packed), bar:
        write_pixels(file, _shown(packed, pieces, bar), key=key, num_images=len(images), channels=images.channels)


def _decoded(images: FileImages, short_side: int, indices: np.ndarray) -> Piece:
    """What a worker does; an image that cannot be read takes no room."""
    empty = torch.empty(images.channels, 0, 0, dtype=torch.uint8)
    found = {index: image_or_reason(images, index) for index in indices.tolist()}
    bad = {index: reason for index, reason in found.items() if isinstance(reason, BadImage)}
    return Piece(
        pack([empty if isinstance(image, BadImage) else shrink(image, short_side) for image in found.values()]), bad
    )


def _shown(packed: Iterator[Tensor], pieces: list[np.ndarray], bar: tqdm) -> Iterator[Tensor]:
    for piece, made in zip(pieces, packed, strict=True):
        yield made
        bar.update(len(piece))


def _summary(pixels: PixelFile, images: FileImages, config: FilesConfig, place: str, built: bool, began: float) -> str:
    return (
        f"dataset.cache={config.cache}: {len(images):,} decoded images, {_gb(pixels.nbytes)} {place}, "
        f"{'built' if built else 'found'} in {time.monotonic() - began:,.1f} s"
    )


def _gb(size: float) -> str:
    return f"{size / 1e9:,.2f} GB"
