"""Checkpoints are whole or absent, whatever happens while one is written, and the right ones are kept."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_cli.training import checkpoint_writing as module
from byol_cli.training.checkpoint_search import newest_good
from byol_cli.training.checkpoint_writing import BackgroundWriter, CheckpointFolder, all_finite, snapshot
from byol_cli.training.digests import listed_digests, sha256_of

OPERATIONS = ("replace", "link", "fsync")


@pytest.fixture
def write(content: dict[str, Any], tmp_path: Path) -> Callable[..., CheckpointFolder]:
    """Writes checkpoints of some steps in RUN/checkpoints."""

    def steps(*numbers: int, keep_last: int = 2, keep_every: int | None = None, best: bool = False) -> CheckpointFolder:
        folder = CheckpointFolder(tmp_path / "checkpoints", keep_last=keep_last, keep_every=keep_every)
        for number in numbers:
            folder.write({**content, "step": number}, best=best)
        return folder

    return steps


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".pt")


def test_the_newest_are_kept_and_for_good_those_at_multiples(write: Callable[..., Any], tmp_path: Path) -> None:
    folder = write(2, 4, 5, 6, 7, 8, keep_last=2, keep_every=4).folder
    assert names(folder) == [
        "last.pt",
        "step_00000004.pt",
        "step_00000006.pt",
        "step_00000007.pt",
        "step_00000008.pt",
    ]
    for path in folder.glob("*.pt"):
        assert sha256_of(path) in listed_digests(path)
    assert len(list(folder.glob("*.sha256"))) == 5


def test_last_and_best_are_further_names_of_a_step_s_file(write: Callable[..., Any]) -> None:
    folder = write(1, best=True).folder
    write(2, 3, 4)
    assert (folder / "last.pt").samefile(folder / "step_00000004.pt")
    assert torch.load(folder / "best.pt", weights_only=True)["step"] == 1  # kept, though its step's name is not


def test_where_a_file_can_have_one_name_only_it_is_copied(
    write: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module.os, "link", refuse)
    folder = write(1, best=True).folder
    assert {sha256_of(path) for path in folder.glob("*.pt")} == {sha256_of(folder / "last.pt")}
    assert not (folder / "last.pt").samefile(folder / "best.pt")


class Died(BaseException):
    """The process is gone."""


def dying_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise at the `number`-th call that changes what is on the disk."""
    calls = iter(range(10**6))
    for operation in OPERATIONS:
        real = getattr(os, operation)

        def counted(*arguments: Any, real: Callable[..., Any] = real) -> Any:
            if next(calls) == number:
                raise Died
            return real(*arguments)

        monkeypatch.setattr(module.os, operation, counted)


def test_dying_anywhere_leaves_a_good_checkpoint_and_going_on_mends_the_rest(
    content: dict[str, Any], write: Callable[..., Any], tmp_path: Path
) -> None:
    for point in range(100):
        for path in (tmp_path / "checkpoints").glob("*"):
            path.unlink()
        write(1)
        with pytest.MonkeyPatch.context() as patch:
            dying_at(point, patch)
            try:
                write(2, best=True)
            except Died:
                died = True
            else:
                died = False
        said: list[str] = []
        found = newest_good(tmp_path, field="resume", say=said.append)
        assert found
        step = found[1]["step"]
        assert (step in (1, 2), said) == (True, [])
        folder = CheckpointFolder(tmp_path / "checkpoints", keep_last=2, keep_every=None)
        folder.begin(start_step=step)
        assert not list(folder.folder.glob("*.writing"))
        for number in range(step + 1, 3):
            folder.write({**content, "step": number}, best=number == 2)
        assert {torch.load(folder.folder / name, weights_only=True)["step"] for name in ("last.pt", "best.pt")} == {2}
        if not died:
            assert point > 8  # the control: it did die at each of the points before
            return
    pytest.fail("it dies for ever")


def test_newer_files_that_are_damaged_are_set_aside(write: Callable[..., Any]) -> None:
    folder = write(1, 2)
    folder.begin(start_step=1)
    assert (folder.folder / "step_00000002.pt.damaged").is_file()
    assert not (folder.folder / "step_00000002.pt").exists()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_disk_that_fails_leaves_what_was_there(
    operation: str, write: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(1)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, operation, full)
    if operation == "link":
        monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        write(2)
    monkeypatch.undo()
    found = newest_good(tmp_path, field="resume", say=pytest.fail)
    assert found
    assert found[1]["step"] == 1


def test_torch_s_word_of_a_full_disk_is_the_system_s(
    write: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save = torch.save

    def save_on_a_full_disk(values: Any, _: Any) -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            save(values, file)

    monkeypatch.setattr(module.torch, "save", save_on_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(1)
    assert names(tmp_path / "checkpoints") == []


def test_a_snapshot_does_not_change_with_what_it_is_of() -> None:
    weight = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    values = {"a": [weight, {"b": (weight, 1.5, None)}], "c": "text"}
    taken = snapshot(values)
    weight += 1
    assert taken["c"] == "text"
    assert taken["a"][1]["b"][1:] == [1.5, None]
    for copy in (taken["a"][0], taken["a"][1]["b"][0]):
        assert not copy.any()
        assert copy.stride() == weight.stride()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_found(value: float) -> None:
    tensors = [torch.zeros(3), torch.zeros(0), torch.tensor([1, 2]), torch.full((2, 2), 3e38)]
    assert all_finite(tensors)
    assert not all_finite([*tensors, torch.tensor([0.0, value])])


def test_the_background_writer_hands_over_a_failing_disk_and_raises_what_else_fails() -> None:
    writer = BackgroundWriter()
    assert writer.wait() is None
    full = OSError(28, "No space left on device")

    def failing(error: Exception) -> Callable[[], None]:
        def write() -> None:
            raise error

        return write

    writer.start(failing(full))
    assert writer.wait() is full
    writer.start(failing(KeyError("bug")))
    with pytest.raises(KeyError):
        writer.wait()
    writer.start(lambda: None)
    assert writer.wait() is None
    writer.close()
