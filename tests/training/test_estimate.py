"""What a run would take is told without training it, and agrees with what can be counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import TrainConfig
from byol_cli.training import estimate as estimating
from byol_cli.training.estimate import Estimate, estimate, plan_of
from byol_cli.training.setup import Run, prepare

WORDS = (
    "backbone.widths=[4,8] backbone.blocks=[1,1] head.hidden_dim=16 head.output_dim=8 trainer.device=cpu "
    "trainer.precision=fp32 trainer.steps=100"
).split()


def run_of(*words: str) -> Run:
    config = load_config(TrainConfig, compose_config("train", [*WORDS, *words]))
    return prepare(config, say=lambda line: None)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a part's passes, the update and the images take so many seconds."""

    def arrange(*seconds: float) -> None:
        left = iter(seconds)

        def taken(work: Callable[[], object], device: Any) -> float:
            work()
            return next(left)

        monkeypatch.setattr(estimating, "seconds", taken)

    return arrange


def test_memory_is_that_of_weights_gradients_and_momenta() -> None:
    run = run_of("optimizer=sgd")
    online = sum(parameter.numel() for parameter in run.state.online.parameters())
    every = sum(value.nbytes for net in (run.state.online, run.state.target) for value in net.state_dict().values())
    found = estimate(run)
    assert (found.gradients, found.optimizer, found.weights) == (4 * online, 4 * online, every)
    assert found.views == 2 * 4 * 64 * 16 * 16
    adam = estimate(run_of("optimizer=adamw"))
    assert adam.optimizer == pytest.approx(2 * 4 * online, rel=0.01)  # two moments, and a step each


def test_activations_and_time_follow_from_a_few_images(
    monkeypatch: pytest.MonkeyPatch, times: Callable[..., None]
) -> None:
    times(0.5, 0.125, 0.25)
    all_of_them = estimate(run_of("trainer.batch_size=32", "trainer.accumulation_steps=1"))
    assert (all_of_them.compute, all_of_them.images) == (0.625, 0.25)
    monkeypatch.setattr(estimating, "TRIED_ON_CPU", 8)
    times(0.5, 0.125, 0.25)
    a_few = estimate(run_of("trainer.batch_size=64", "trainer.accumulation_steps=2"))
    assert a_few.activations == pytest.approx(all_of_them.activations, rel=0.05)
    assert a_few.compute == 0.5 * 4 * 2 + 0.125
    assert a_few.images == 0.25 * 4 * 2


def test_images_are_made_ready_beside_the_step_where_workers_do_it() -> None:
    nothing = dict.fromkeys(("weights", "gradients", "optimizer", "activations", "views"), 0)
    found = Estimate(**nothing, compute=2.0, images=3.0)
    assert (found.step_seconds(beside=True), found.step_seconds(beside=False)) == (3.0, 5.0)


def test_time_and_money_are_told(times: Callable[..., None]) -> None:
    times(35.0, 1.0, 0.0)
    lines = plan_of(run_of("trainer.batch_size=32"), price_per_hour=2.0)
    assert lines["time"].startswith("1.0 hours for 100 steps on 1 x cpu")
    assert lines["cost"] == "2.00 at 2 an hour for each of 1"
    assert lines["step"].startswith("36 s (computing takes longest")


def test_a_step_that_does_not_fit_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(run: Run) -> Estimate:
        raise MemoryError

    monkeypatch.setattr(estimating, "estimate", full)
    told = plan_of(run_of(), price_per_hour=None)
    assert "trainer.accumulation_steps=2 splits the batch of 64" in told["memory"]


def test_the_command_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from byol_cli.cli.train import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["byol-train", *WORDS, "trainer.plan=true"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert not list(tmp_path.iterdir())
