"""Where the disk is full or has gone, a run goes on, says so, and stops only after a while."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_cli.training.checkpoint_writing import CheckpointFolder
from byol_cli.training.console import Progress
from byol_cli.training.recorder import read_metrics

Command = Callable[..., Any]
SHORT = ["trainer.steps=8", "trainer.log_every_steps=1", "trainer.checkpoint_every_steps=2", "evaluation=[]"]


@pytest.fixture
def words(tiny: list[str]) -> list[str]:
    return [*tiny, *SHORT, "hydra.run.dir=run"]


@pytest.fixture
def failing_saves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the saves of these steps fail."""
    write = CheckpointFolder.write

    def arrange(*steps: int) -> None:
        def failing(self: CheckpointFolder, checkpoint: dict[str, Any], *, best: bool) -> None:
            if checkpoint["step"] in steps:
                raise OSError(28, "No space left on device")
            write(self, checkpoint, best=best)

        monkeypatch.setattr(CheckpointFolder, "write", failing)

    return arrange


def last_step(run_dir: Path) -> int:
    return int(torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)["step"])


def test_a_run_goes_on_where_some_saves_fail(
    byol_train: Command, words: list[str], failing_saves: Callable[..., None], tmp_path: Path
) -> None:
    failing_saves(4, 6)
    ended = byol_train(*words)
    assert ended.code == 0, ended.err
    warning = "step 4 cannot be saved: No space left on device; the last checkpoint is that of step 2; the run goes on"
    assert f"warning: {warning} (failure 1, the run stops at 3)" in ended.err
    assert "step 6 cannot be saved" in ended.err
    assert last_step(tmp_path / "run") == 8


def test_it_stops_after_so_many_in_a_row_and_the_last_good_one_stays(
    byol_train: Command, words: list[str], failing_saves: Callable[..., None], tmp_path: Path
) -> None:
    failing_saves(4, 6)
    ended = byol_train(*words, "trainer.max_failed_saves=2")
    assert ended.code == 3
    assert "step 6 cannot be saved: No space left on device" in ended.err.splitlines()[-1]
    assert "(2 failures in a row, trainer.max_failed_saves=2)" in ended.err.splitlines()[-1]
    assert last_step(tmp_path / "run") == 2
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "stopped"


def test_a_last_save_that_fails_is_not_the_end_of_a_run_that_is_done(
    byol_train: Command, words: list[str], failing_saves: Callable[..., None], tmp_path: Path
) -> None:
    failing_saves(8)
    ended = byol_train(*words)
    assert ended.code == 3
    assert "step 8 cannot be saved" in ended.err.splitlines()[-1]
    failing_saves()
    assert byol_train("resume=run").code == 0
    assert last_step(tmp_path / "run") == 8


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Callable[[], Any]]], None]:
    """Do something at the end of a step."""

    def arrange(what: dict[int, Callable[[], Any]]) -> None:
        steps = iter(range(1, 10**6))
        advance = Progress.advance

        def doing(self: Progress, images: int) -> None:
            what.get(next(steps), lambda: None)()
            advance(self, images)

        monkeypatch.setattr(Progress, "advance", doing)

    return arrange


def test_a_folder_that_vanishes_and_comes_back_has_every_line_in_the_end(
    byol_train: Command, words: list[str], at_step: Callable[..., None], tmp_path: Path
) -> None:
    run, away = tmp_path / "run", tmp_path / "away"

    def come_back() -> None:
        shutil.rmtree(run, ignore_errors=True)  # what was written meanwhile lies below the mount
        away.rename(run)

    at_step({3: lambda: run.rename(away), 6: come_back})
    ended = byol_train(*words, "trainer.max_failed_saves=5")
    assert ended.code == 0, ended.err
    assert "metrics.jsonl cannot be written to: No such file or directory; its lines wait in memory" in ended.err
    losses = [row["step"] for row in read_metrics(run / "metrics.jsonl") if "train/loss" in row]
    assert losses == list(range(1, 9))
    assert last_step(run) == 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte, where mounting is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(byol_train: Command, tiny: list[str], small_disk: Path) -> None:
    words = [*tiny, *SHORT, f"hydra.run.dir={small_disk}/run", "trainer.keep_last=100", "trainer.steps=200"]
    ended = byol_train(*words)
    assert ended.code == 3
    assert "Traceback" not in ended.err
    assert "cannot be saved: No space left on device" in ended.err.splitlines()[-1]
    good = last_step(small_disk / "run")
    assert f"the last checkpoint is that of step {good}" in ended.err.splitlines()[-1]
    for path in sorted((small_disk / "run" / "checkpoints").glob("step_*.pt"))[:-1]:
        path.unlink()
    ended = byol_train(f"resume={small_disk}/run", "trainer.keep_last=1")
    assert ended.code == 0, ended.err
    assert f"going on from step {good} of 200" in ended.out
