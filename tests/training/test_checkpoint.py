"""Checkpoints are whole or absent, and reading one never runs what is in it."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_cli.schema.errors import InputError
from byol_cli.training import checkpoint as module
from byol_cli.training.checkpoint import KEYS, find_checkpoint, read_checkpoint, save_checkpoint


def content(step: int) -> dict[str, Any]:
    return {**dict.fromkeys(KEYS, 0), "step": step, "online": {"weight": torch.full((3,), float(step))}}


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(path, content(1))
    save_checkpoint(path, content(2))
    read = read_checkpoint(path)
    assert read["step"] == 2
    assert torch.equal(read["online"]["weight"], torch.full((3,), 2.0))
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.pt", "last.pt.sha256"]


@pytest.mark.parametrize("die_at", [0, 1])
def test_a_crash_between_any_two_renames_leaves_the_old_checkpoint_good(
    die_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, content(1))
    renames = iter(range(10))
    replace = os.replace

    def dying(source: Any, goal: Any) -> None:
        if next(renames) == die_at:
            raise KeyboardInterrupt
        replace(source, goal)

    monkeypatch.setattr(module.os, "replace", dying)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, content(2))
    assert read_checkpoint(path)["step"] == 1


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, content(1))
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {"cut": data[:middle], "flip": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :], "empty": b""}[
            damage
        ]
    )
    with pytest.raises(InputError, match=r"last\.pt: its SHA-256 is not in last\.pt\.sha256"):
        read_checkpoint(path)


class Malicious:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    torch.save({**content(1), "metrics": Malicious(made)}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(made)))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(InputError, match="cannot be read as a checkpoint"):
            read_checkpoint(tmp_path / name)
    assert not made.exists()


def test_other_files_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="is not a checkpoint of byol-train"):
        read_checkpoint(tmp_path / "weights.pt")
    with pytest.raises(InputError, match="resume=.*neither a checkpoint file nor a run folder"):
        find_checkpoint(tmp_path, field="resume")
