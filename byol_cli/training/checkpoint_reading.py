"""Checkpoints are read without running anything that is in them, and without trusting what they say of themselves.

First the bytes, by the SHA-256 beside the file and the archive's own checksums; then what the file claims, which must
be a checkpoint of the networks in its configuration; only then are tensors built, by torch with `weights_only=True`.
"""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import torch

from byol_cli.schema.errors import InputError
from byol_cli.schema.stored import load_stored
from byol_cli.training.archive import SKELETON, STORAGE, check_contents, content, read_records
from byol_cli.training.checkpoint_form import KEYS, check_form
from byol_cli.training.checkpoint_writing import all_finite
from byol_cli.training.claimed_networks import check_networks
from byol_cli.training.claims import Claims
from byol_cli.training.digests import digest_file, listed_digests, sha256_of_file
from byol_cli.training.memory import is_out_of_memory
from byol_cli.training.skeleton import read_skeleton

__all__ = ["KEYS", "read_checkpoint"]

_LONGEST_REASON = 400


class UnreadableCheckpoint(InputError):
    """A file that may be whole, but cannot be read now."""


def read_checkpoint(path: Path, *, field: str = "checkpoint") -> dict[str, Any]:
    """Read and verify the checkpoint file `path`; its tensors are on the CPU.

    Raises:
        InputError: missing, truncated, altered, or not one of ours; `field` is named in the message.
        UnreadableCheckpoint: storage or memory fail; that says nothing about the file.
    """
    if not path.is_file():
        raise InputError(f"{field}={path}: there is no such file")
    try:
        with path.open("rb") as file:
            _check_digest(file, path)
            _check_claims(file)
            return _load(file)
    except InputError as error:
        reason = f"{error}"
    except OSError as error:
        raise UnreadableCheckpoint(f"{field}={path}: it cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise UnreadableCheckpoint(f"{field}={path}: it cannot be read: there is too little memory") from None
    raise InputError(f"{field}={path}: {_one_line(reason)}")


def _check_digest(file: BinaryIO, path: Path) -> None:
    if digest_file(path).is_file():
        digest = sha256_of_file(file)
        # Listed after hashing: a run that goes on meanwhile lists its new checkpoint and the one before.
        if digest not in listed_digests(path):
            raise InputError(f"its SHA-256 is not in {digest_file(path).name}; the file is damaged")


def _check_claims(file: BinaryIO) -> None:
    """Everything that can be known without building a tensor."""
    records = read_records(file)
    check_contents(file, records)
    sizes = {match[1]: records[name].size for name in records if (match := STORAGE.fullmatch(name))}
    skeleton = read_skeleton(content(file, records[SKELETON]), Claims(sizes))
    check_form(skeleton)
    try:
        config = load_stored(skeleton["config"])
    except InputError as error:
        raise InputError(f"its config does not fit: {error}") from None
    check_networks(skeleton, config)


def _load(file: BinaryIO) -> dict[str, Any]:
    file.seek(0)
    try:
        checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, pickle.UnpicklingError) as error:
        if is_out_of_memory(error):
            raise MemoryError from None
        raise InputError(f"it cannot be read as a checkpoint: {error}") from None
    for name in ("online", "target"):
        if not all_finite(list(checkpoint[name].values())):
            raise InputError(f"its {name} network holds values that are not finite")
    return checkpoint


def _one_line(reason: str) -> str:
    """What a file made a message say: no further lines, and nothing that a terminal would obey."""
    line = " ".join(reason.split())[:_LONGEST_REASON]
    return "".join(character if character.isprintable() else "?" for character in line)
