"""The last save of a run, whatever comes between: signals, storage that fails for a moment, weights that broke."""

import errno
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_cli.schema.errors import TrainingFault
from byol_cli.training import checkpoint_search, pretrain, watch
from byol_cli.training.checkpoint_reading import UnreadableCheckpoint, read_checkpoint
from byol_cli.training.checkpoint_writing import CheckpointFolder
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.saving import Saver
from byol_cli.training.watch import Watch

Command = Callable[..., Any]
SHORT = ["trainer.steps=4", "trainer.checkpoint_every_steps=2", "trainer.log_every_steps=1", "evaluation=[]"]


@pytest.fixture
def words(tiny: list[str]) -> list[str]:
    return [*tiny, *SHORT, "trainer.probe_every_epochs=99", "hydra.run.dir=run"]


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something at the first call of a method."""

    def arrange(owner: Any, name: str, action: Callable[[], None], *, when: Callable[[Any], bool]) -> None:
        real, done = getattr(owner, name), []

        def first(*arguments: Any, **named: Any) -> Any:
            if not done and when(arguments):
                done.append(True)
                action()
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, first)

    return arrange


def stop_me() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def saved_step(tmp_path: Path) -> int:
    found = checkpoint_search.newest_good(tmp_path / "run", field="resume", say=pytest.fail)
    return int(found[1]["step"]) if found else 0


MOMENTS = {
    "gauges": (watch, "read_gauges", lambda arguments: True),
    "the figures": (Watch, "log", lambda arguments: arguments[0].run.state.step == 2),
    "a save": (Saver, "save", lambda arguments: arguments[0]._run.state.step == 2),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_in_the_midst_of_what_follows_a_step_is_heeded_with_all_saved(
    moment: str, byol_train: Command, words: list[str], tmp_path: Path, once: Any
) -> None:
    owner, name, when = MOMENTS[moment]
    once(owner, name, stop_me, when=when)
    ended = byol_train(*words)
    assert ended.code == 75
    step = saved_step(tmp_path)
    assert step in (2, 3)
    assert f"interrupted and saved at step {step};" in ended.err


def test_a_signal_after_a_fault_does_not_make_it_an_interruption(
    byol_train: Command, words: list[str], once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise TrainingFault("a fault")

    monkeypatch.setattr(Watch, "log", fault)
    once(pretrain, "save_curves", stop_me, when=lambda arguments: True)
    ended = byol_train(*words)
    assert (ended.code, ended.err.splitlines()[-1]) == (3, "byol-train: a fault")


def test_the_last_save_is_tried_again(byol_train: Command, words: list[str], tmp_path: Path, once: Any) -> None:
    once(CheckpointFolder, "write", full, when=lambda arguments: arguments[1]["step"] == 4)
    ended = byol_train(*words)
    assert ended.code == 0, ended.err
    assert "step 4 cannot be saved: No space left on device; the last checkpoint is that of step 2" in ended.err
    assert saved_step(tmp_path) == 4


def test_a_save_that_fails_while_the_run_ends_is_told(
    byol_train: Command, words: list[str], tmp_path: Path, once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(self: Watch, loss: Any, gradient_norm: Any) -> bool:
        self.saver.save(best=False)
        raise TrainingFault("a fault")

    monkeypatch.setattr(Watch, "__call__", fault)
    once(CheckpointFolder, "write", full, when=lambda arguments: True)
    ended = byol_train(*words)
    assert ended.code == 3
    assert "warning: step 1 cannot be saved: No space left on device; there is no checkpoint yet" in ended.err


def test_weights_that_broke_are_not_saved_by_the_stop_for_collapse(
    byol_train: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = torch.optim.SGD.step

    def overshoot(self: torch.optim.SGD, *arguments: Any) -> Any:
        result = move(self, *arguments)
        next(iter(self.state)).data.fill_(math.inf)
        return result

    monkeypatch.setattr(torch.optim.SGD, "step", overshoot)
    ended = byol_train(
        *words, "trainer.on_collapse=stop", "optimizer.warmup_fraction=0", "trainer.gauges_every_steps=1"
    )
    assert ended.code == 3
    assert "step 1: weights are not finite" in ended.err
    assert saved_step(tmp_path) == 0


def test_a_rollback_is_one_case_however_many_steps_were_bad(
    byol_train: Command, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NonfiniteGuard, "take_count", lambda self: 3 if self._state.step == 3 else 0)
    ended = byol_train(*words, "trainer.on_nonfinite=rollback", "trainer.max_nonfinite=1")
    assert ended.code == 0, ended.err
    assert "back to the weights of step 2 (case 1, the run stops above 1)" in ended.err


def test_a_rollback_with_nothing_to_go_back_to_is_a_fault(
    byol_train: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_step_on_a_damaged_disk(guard: NonfiniteGuard) -> int:
        for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
            path.write_bytes(b"damaged")
        return 1

    monkeypatch.setattr(NonfiniteGuard, "take_count", bad_step_on_a_damaged_disk)
    ended = byol_train(*words, "trainer.on_nonfinite=rollback", "trainer.keep_last=5")
    assert ended.code == 3
    assert "step 1: rollback=" in ended.err.splitlines()[-1]


def test_a_checkpoint_that_cannot_be_read_now_is_neither_passed_over_nor_set_aside(
    byol_train: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert byol_train(*words).code == 0
    (tmp_path / "run" / "summary.json").unlink()

    def failing(path: Path, *, field: str) -> dict[str, Any]:
        if "00000004" in path.name:
            raise UnreadableCheckpoint(f"{field}={path}: it cannot be read: Input/output error")
        return read_checkpoint(path, field=field)

    before = sorted((tmp_path / "run" / "checkpoints").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_search, "read_checkpoint", failing)
        ended = byol_train("resume=run")
    assert ended.code == 2
    assert "step_00000004.pt: it cannot be read: Input/output error; to go on from the one before" in ended.err
    assert sorted((tmp_path / "run" / "checkpoints").iterdir()) == before
    assert byol_train("resume=run").code == 0
