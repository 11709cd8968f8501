"""Damaged and forged checkpoints by the hundred: each is refused in one line or read intact.

BYOL_FUZZ_MUTATIONS says how many; 10,000 take a few minutes.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from byol_cli.schema.command import OPTIONS, TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import load
from byol_cli.training.checkpoint_reading import KEYS, read_checkpoint
from byol_cli.training.digests import digest_file, sha256_of

MUTATIONS = int(os.environ.get("BYOL_FUZZ_MUTATIONS", "250"))

EXPECTED = {
    "damaged": {"refused"},  # the list of SHA-256s is as it was
    "sealed again": {"refused", "intact"},  # the new SHA-256 is listed; not every byte of an archive means something
    "forged": {"refused", "intact", "another, sound"},  # another pickle, all checksums right
    "unchanged": {"intact"},  # such as two equal bytes exchanged
}
Mutation = Callable[[random.Random, bytes, bytes], bytes]


def flip(rng: random.Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, length = rng.randrange(len(data)), rng.choice([1, 4, 8, 100])
    return data[:start] + rng.choice([rng.randbytes(length), b"\xff" * length, bytes(length)]) + data[start + length :]


def cut_off(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def insert(rng: random.Random, data: bytes, other: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 2, 64])) + data[at:]


def delete(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice([1, 2, 64]) :]


def swap(rng: random.Random, data: bytes, other: bytes) -> bytes:
    length = rng.choice([1, 8, 64, 512])
    first, second = sorted(rng.randrange(len(data)) for _ in range(2))
    middle = data[first + length : second]
    return (
        data[:first] + data[second : second + length] + middle + data[first : first + length] + data[second + length :]
    )


def splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:start] + other[start:end] + data[end:]


MUTATE: list[Mutation] = [flip, flip, flip, overwrite, overwrite, cut_off, insert, delete, swap, splice]


def pickle_of(data: bytes) -> tuple[int, int]:
    """Where the pickle lies in a checkpoint of this project's own writer."""
    start = data.index(b"\x80\x02}")
    return start, data.index(b"PK\7\10", start)


def same(one: Any, other: Any) -> bool:
    """Whether nested values are equal to the last bit, types included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def is_sound(checkpoint: dict[str, Any], original: dict[str, Any]) -> bool:
    """Whether a forged checkpoint that was read is one that a run could have written."""

    def plain(value: Any) -> bool:
        if isinstance(value, (dict, list, tuple)):
            return all(map(plain, value.values() if isinstance(value, dict) else value))
        return type(value) in (torch.Tensor, str, int, float, bool, type(None))

    load(TrainConfig, checkpoint["config"], OPTIONS)
    for name in ("online", "target"):
        shapes = {key: tensor.shape for key, tensor in original[name].items()}
        if shapes != {key: tensor.shape for key, tensor in checkpoint[name].items() if tensor.isfinite().all()}:
            return False
    return checkpoint.keys() >= KEYS and plain(checkpoint)


def outcome(path: Path, *, original: dict[str, Any]) -> str:
    """What became of one file, in words."""
    try:
        checkpoint = read_checkpoint(path)
    except InputError as error:
        said = str(error)
        return "refused" if said.startswith(f"checkpoint={path}: ") and said.isprintable() else f"said {said!r}"
    except Exception as error:  # what must not happen is told with its mutation
        return f"{type(error).__name__}: {error}"
    if same(checkpoint, original):
        return "intact"
    return "another, sound" if is_sound(checkpoint, original) else "another"


def fuzz(first: str, second: str, count: int) -> None:
    """Run in a process of its own, so that a crash is seen; prints what happened."""
    from conftest import with_skeleton

    data, other = Path(first).read_bytes(), Path(second).read_bytes()
    path = Path("last.pt")
    path.write_bytes(data)
    list_of_original = f"{sha256_of(path)}  last.pt\n"
    original, modules = read_checkpoint(path), set(sys.modules)
    ours, theirs = slice(*pickle_of(data)), slice(*pickle_of(other))
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in EXPECTED}
    failures = []
    for seed in range(count):
        rng = random.Random(seed)
        kind = "damaged" if seed % 2 else "forged" if seed % 6 == 0 else "sealed again"
        mutation = rng.choice(MUTATE)
        if kind == "forged":
            path.write_bytes(with_skeleton(data, mutation(rng, data[ours], other[theirs])))
        else:
            path.write_bytes(mutation(rng, data, other))
        if path.read_bytes() == data:
            kind = "unchanged"
        digest_file(path).write_text(list_of_original if seed % 2 else f"{sha256_of(path)}  last.pt\n")
        became = outcome(path, original=original)
        imported = sorted(set(sys.modules) - modules)
        if became not in EXPECTED[kind] or imported:
            failures.append([seed, kind, mutation.__name__, became, imported])
        outcomes[kind][became] += 1
    print(json.dumps({"outcomes": outcomes, "failures": failures}))


def test_every_mutation_is_refused_in_one_line_or_read_intact(
    saved_run: Any, tmp_path: Path, forge: SimpleNamespace
) -> None:
    other = forge.saved_run(tmp_path / "other", "seed=1", "optimizer.lr=0.5")
    folders = [*sys.path, str(Path(__file__).parent)]
    ended = subprocess.run(
        [sys.executable, __file__, str(saved_run.path), str(other.path), str(MUTATIONS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    print(result["outcomes"])
    assert not result["failures"]
    counts = result["outcomes"]
    assert sum(sum(kind.values()) for kind in counts.values()) == MUTATIONS
    for kind in ("damaged", "sealed again", "forged"):
        assert counts[kind].keys() == EXPECTED[kind]  # each comes to pass


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2], int(sys.argv[3]))
