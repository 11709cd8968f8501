"""Checkpoints: written whole or not at all, read without running anything that is in them.

A checkpoint is a dict of tensors and plain values under the keys in KEYS. Its SHA-256 lies beside it, in a file
written first, so that a half-written checkpoint never passes for a good one.
"""

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from byol_cli.schema.errors import InputError

KEYS = frozenset(
    "step epoch online target optimizer scaler rng metrics "
    "data_fingerprint config normalization channels versions".split()
)


def save_checkpoint(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write `checkpoint` to `path` so that `path` is at all times absent, the old file or the new file, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.writing")
    with temporary.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())
    digests = _digest_file(path)
    previous = _digests(digests)[:1]  # good until the rename below, should the process die in between
    draft = digests.with_name(f"{digests.name}.writing")
    draft.write_text("".join(f"{digest}  {path.name}\n" for digest in [_sha256(temporary), *previous]))
    os.replace(draft, digests)
    os.replace(temporary, path)
    _sync_folder(path.parent)


def read_checkpoint(path: Path, *, field: str = "checkpoint") -> dict[str, Any]:
    """Read and verify the checkpoint file `path`.

    Raises:
        InputError: missing, truncated, altered, not one of ours; `field` is named in the message.
    """
    if not path.is_file():
        raise InputError(f"{field}={path}: there is no such file")
    digests = _digests(_digest_file(path))
    if digests and _sha256(path) not in digests:
        raise InputError(f"{field}={path}: its SHA-256 is not in {path.name}.sha256; the file is damaged")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{field}={path} cannot be read as a checkpoint ({_first_line(error)})") from None
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= KEYS:
        raise InputError(
            f"{field}={path} is not a checkpoint of byol-train: it lacks some of {', '.join(sorted(KEYS))}"
        )
    return checkpoint


def find_checkpoint(path: Path, *, field: str) -> Path:
    """The checkpoint that `path` means: itself, or a run folder's latest.

    Raises:
        InputError: neither a checkpoint file nor a run folder with one in it.
    """
    if path.is_file():
        return path
    last = path / "checkpoints" / "last.pt"
    if not last.is_file():
        raise InputError(f"{field}={path}: neither a checkpoint file nor a run folder with checkpoints/last.pt in it")
    return last


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digests(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()] if path.is_file() else []


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
