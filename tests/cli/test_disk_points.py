"""A disk that fails at one point after the other, and what else than checkpoints a run has to write."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byol_cli.cli import run_files, session
from byol_cli.training import checkpoint_writing as writing
from byol_cli.training import pretrain, recorder
from byol_cli.training.checkpoint_search import newest_good
from byol_cli.training.console import Progress
from byol_cli.training.recorder import Recorder, read_metrics

Command = Callable[..., Any]
FULL, READ_ONLY = OSError(28, "No space left on device"), OSError(30, "Read-only file system")


@pytest.fixture
def words(tiny: list[str]) -> list[str]:
    each = ["trainer.log_every_steps=1", "trainer.checkpoint_every_steps=1", "trainer.steps=6"]
    return [*tiny, *each, "evaluation=[]", "trainer.gauges_every_steps=1000", "hydra.run.dir=run"]


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something after steps of the next run: `at_step({3: fill, 5: free})`."""

    def arrange(actions: dict[int, Callable[[], Any]]) -> None:
        seen: list[int] = []

        def advance(self: Progress, images: int) -> None:
            seen.append(images)
            self._done += images
            actions.get(len(seen), lambda: None)()

        monkeypatch.setattr(Progress, "advance", advance)

    return arrange


class Failing:
    """A call that fails with `error` while `on`, where its first argument lies in `folder`."""

    def __init__(self, real: Callable[..., Any], error: OSError, *, folder: str = "") -> None:
        self.real, self.error, self.folder, self.on = real, error, folder, False

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.on and self.folder in self.path(arguments[0]):
            raise OSError(self.error.errno, self.error.strerror)
        return self.real(*arguments, **named)

    @staticmethod
    def path(target: Any) -> str:
        return os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)

    def start(self) -> None:
        self.on = True

    def stop(self) -> None:
        self.on = False


def step_in(run_dir: Path) -> int:
    found = newest_good(run_dir, field="resume", say=pytest.fail)
    return int(found[1]["step"]) if found else 0


POINTS: dict[str, tuple[Any, str, OSError]] = {
    "opening": (Path, "open", FULL),
    "the sync": (os, "fsync", FULL),
    "the digest": (writing, "sha256_of", FULL),
    "the rename": (os, "replace", FULL),
    "read-only": (Path, "mkdir", READ_ONLY),
}


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_failed_save_is_told_and_the_next_one_is_good(
    point: str, byol_train: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: Any
) -> None:
    run = tmp_path / "run"
    kept: list[int] = []
    owner, name, error = POINTS[point]
    failing = Failing(getattr(owner, name), error, folder="checkpoints")
    monkeypatch.setattr(owner, name, lambda *arguments, **named: failing(*arguments, **named))
    at_step({3: failing.start, 5: lambda: (failing.stop(), kept.append(step_in(run)))})
    ended = byol_train(*words)
    assert ended.code == 0, ended.err
    lines = [line for line in ended.err.splitlines() if "cannot be saved" in line]
    assert 1 <= len(lines) <= 3
    assert all(f"cannot be saved: {error.strerror}; the last checkpoint is that of step" in line for line in lines)
    assert "the run goes on (failure 1, the run stops at 3)" in lines[0]
    assert kept in ([1], [2], [3])  # a save is left out while the one before is still being written
    assert step_in(run) == 6
    assert not list((run / "checkpoints").glob("*.writing"))
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl") if "train/loss" in row] == [1, 2, 3, 4, 5, 6]


def test_where_nothing_at_all_can_be_written_any_more_it_is_said_what_there_is_to_go_back_to(
    byol_train: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: Any
) -> None:
    failing = Failing(os.fsync, FULL)
    monkeypatch.setattr(os, "fsync", failing)
    first = tmp_path / "run" / "checkpoints" / "step_00000001.pt"

    def fail_once_there_is_one() -> None:
        while not first.exists():
            time.sleep(0.01)
        failing.start()

    at_step({2: fail_once_there_is_one})
    ended = byol_train(*words, "trainer.steps=50", "trainer.max_failed_saves=2")
    failing.stop()
    assert ended.code == 3
    assert "Traceback" not in ended.err
    good = step_in(tmp_path / "run")
    assert good in (1, 2)
    assert f"cannot be saved: No space left on device; the last checkpoint is that of step {good}" in ended.err
    assert "(2 failures in a row, trainer.max_failed_saves=2)" in ended.err
    assert byol_train("resume=run", "trainer.log_every_steps=5").code == 0


@pytest.mark.parametrize("name", ["curves.png", "views.png"])
def test_a_picture_that_cannot_be_written_is_told(
    name: str, byol_train: Command, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr(pretrain, f"save_{Path(name).stem}", full)
    ended = byol_train(*words)
    assert (ended.code, f"run/{name} cannot be written: No space left on device" in ended.err) == (0, True), ended.err


@pytest.mark.parametrize("name", ["config.yaml", "summary.json"])
def test_without_configuration_or_summary_a_run_ends_with_3_and_what_was_measured_is_shown(
    name: str, byol_train: Command, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = recorder.write_whole

    def full(path: Path, text: str) -> None:
        if path.name == name:
            raise FULL
        write(path, text)

    monkeypatch.setattr(recorder, "write_whole", full)
    monkeypatch.setattr(run_files, "write_whole", full)
    ended = byol_train(*words, "evaluation=[knn]", "trainer.steps=2")
    assert (ended.code, "cannot be written: No space left on device" in ended.err) == (3, True), ended.err
    assert "Traceback" not in ended.err
    assert name == "config.yaml" or "trained backbone" in ended.out, "the table is lost"


def test_an_interrupted_run_says_how_to_go_on_even_where_its_summary_cannot_be_written(
    byol_train: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: Any
) -> None:
    def full(path: Path, values: dict[str, Any]) -> None:
        raise FULL

    monkeypatch.setattr(session, "write_json", full)
    at_step({2: lambda: os.kill(os.getpid(), 15)})
    ended = byol_train(*words)
    assert step_in(tmp_path / "run") == 2
    assert (ended.code, "go on by: byol-train resume=run" in ended.err) == (75, True), ended.err


def test_figures_that_wait_are_written_before_the_checkpoint_that_they_belong_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = Recorder(tmp_path, start_step=0, say=lambda line: None)
    failing = Failing(Path.open, FULL, folder="metrics.jsonl")
    monkeypatch.setattr(Path, "open", lambda *arguments, **named: failing(*arguments, **named))
    failing.start()
    figures.record(1, {"train/loss": 1.0})
    failing.stop()
    figures.sync()  # or an OSError: then that checkpoint does not get its name
    assert [row["step"] for row in read_metrics(figures.path)] == [1]


def test_figures_that_wait_are_written_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = Recorder(tmp_path, start_step=0, say=lambda line: None)
    failing = Failing(Path.open, FULL, folder="metrics.jsonl")
    monkeypatch.setattr(Path, "open", lambda *arguments, **named: failing(*arguments, **named))
    failing.start()
    figures.record(1, {"train/loss": 1.0})
    failing.stop()
    figures.close()
    assert [row["step"] for row in read_metrics(figures.path)] == [1]


def test_tensorboard_s_folder_may_vanish(byol_train: Command, words: list[str], tmp_path: Path, at_step: Any) -> None:
    at_step({3: lambda: shutil.rmtree(tmp_path / "run" / "tensorboard")})
    ended = byol_train(*words)
    assert ended.code == 0, ended.err
    assert "TensorBoard's files end here" in ended.err
    assert "Traceback" not in ended.err
