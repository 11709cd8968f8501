"""Runs in which a step's loss or gradient is no number: `trainer.on_nonfinite`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.recorder import read_metrics
from byol_cli.training.state import TrainingState

Command = Callable[..., Any]
SHORT = ["trainer.steps=8", "trainer.log_every_steps=1", "trainer.checkpoint_every_steps=2", "evaluation=[]"]
KEPT = [*SHORT, "trainer.keep_every=1"]


@pytest.fixture
def words(tiny: list[str]) -> list[str]:
    return [*tiny, *SHORT, "hydra.run.dir=run"]


@pytest.fixture
def break_steps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the gradient of these steps (counted from 0) no number, by the weights' own gradients."""
    allows = NonfiniteGuard.allows_update

    def arrange(*steps: int) -> None:
        def broken(self: NonfiniteGuard, loss: Any, gradient_norm: Any) -> bool:
            if self._state.step in steps:
                for parameter in self._state.online.parameters():
                    parameter.grad = torch.full_like(parameter, math.nan)
                return allows(self, loss, gradient_norm * math.nan)
            return allows(self, loss, gradient_norm)

        monkeypatch.setattr(NonfiniteGuard, "allows_update", broken)

    return arrange


def checkpoints(folder: Path) -> dict[int, dict[str, Any]]:
    found = (torch.load(path, weights_only=True) for path in (folder / "checkpoints").glob("step_*.pt"))
    return {checkpoint["step"]: checkpoint for checkpoint in found}


def is_finite(checkpoint: dict[str, Any]) -> bool:
    return all(value.isfinite().all() for name in ("online", "target") for value in checkpoint[name].values())


def test_stop_ends_the_run_and_the_last_good_checkpoint_stays(
    byol_train: Command, words: list[str], break_steps: Callable[..., None], tmp_path: Path
) -> None:
    break_steps(4)
    ended = byol_train(*words)
    assert ended.code == 3
    line = ended.err.splitlines()[-1]
    assert line.startswith("byol-train: step 5: the loss or its gradient is not finite; try a lower optimizer.lr")
    assert line.endswith("the last checkpoint is that of step 4")
    saved = checkpoints(tmp_path / "run")
    assert max(saved) == 4
    assert all(map(is_finite, saved.values()))


def test_it_is_noticed_before_a_save_whatever_is_logged(
    byol_train: Command, words: list[str], break_steps: Callable[..., None], tmp_path: Path
) -> None:
    break_steps(4)
    ended = byol_train(*words, "trainer.log_every_steps=100", "trainer.gauges_every_steps=100")
    assert ended.code == 3
    assert "step 6: the loss or its gradient is not finite" in ended.err
    assert max(checkpoints(tmp_path / "run")) == 4


def test_weights_that_break_in_the_very_step_of_a_save_are_not_saved(
    byol_train: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = torch.optim.SGD.step

    def overshoot(self: torch.optim.SGD, *arguments: Any) -> Any:
        result = move(self, *arguments)
        if self.state and len(steps) == 3:
            next(iter(self.state)).data.fill_(math.inf)  # the loss before was finite, and so was its gradient
        steps.append(0)
        return result

    steps: list[int] = []
    monkeypatch.setattr(torch.optim.SGD, "step", overshoot)
    ended = byol_train(*words)
    assert ended.code == 3
    assert "step 4: weights are not finite" in ended.err
    assert max(checkpoints(tmp_path / "run")) == 2


def test_skip_leaves_the_step_out_and_counts_it(
    byol_train: Command, tiny: list[str], break_steps: Callable[..., None], tmp_path: Path
) -> None:
    break_steps(4)
    ended = byol_train(*tiny, *KEPT, "trainer.on_nonfinite=skip", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    assert "warning: step 5: the loss or its gradient is not finite: left out (case 1," in ended.err
    saved = checkpoints(tmp_path / "run")
    for network in ("online", "target"):
        assert all(torch.equal(value, saved[5][network][name]) for name, value in saved[4][network].items())
        assert not all(torch.equal(value, saved[6][network][name]) for name, value in saved[5][network].items())
    assert saved[8]["metrics"]["train/nonfinite_steps"] == 1
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if "train/nonfinite_steps" in row] == [5]


def test_rollback_takes_the_last_checkpoint_s_weights_and_the_images_that_come_next(
    byol_train: Command, words: list[str], break_steps: Callable[..., None], tmp_path: Path, monkeypatch: Any
) -> None:
    restored: list[tuple[int, int]] = []
    restore = TrainingState.restore_weights

    def noted(self: TrainingState, checkpoint: dict[str, Any], **options: Any) -> None:
        restored.append((self.step, checkpoint["step"]))
        restore(self, checkpoint, **options)
        assert all(torch.equal(value, self.online.state_dict()[name]) for name, value in checkpoint["online"].items())

    monkeypatch.setattr(TrainingState, "restore_weights", noted)
    break_steps(0, 4)
    ended = byol_train(*words, "trainer.on_nonfinite=rollback")
    assert ended.code == 0, ended.err
    assert restored == [(1, 0), (5, 4)]
    assert "back to the weights of step 4 (case 2, the run stops above 100)" in ended.err
    last = checkpoints(tmp_path / "run")[8]
    assert is_finite(last)
    assert last["metrics"]["train/rollbacks"] == 2


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_there_is_a_limit(
    policy: str, byol_train: Command, words: list[str], break_steps: Callable[..., None], tmp_path: Path
) -> None:
    break_steps(2, 3, 4, 5)
    ended = byol_train(*words, f"trainer.on_nonfinite={policy}", "trainer.max_nonfinite=2")
    assert ended.code == 3
    assert (
        "step 5: the loss or its gradient is not finite; 3 such cases are more than trainer.max_nonfinite=2"
        in ended.err
    )
    assert all(map(is_finite, checkpoints(tmp_path / "run").values()))
