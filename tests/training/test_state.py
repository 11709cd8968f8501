"""A state that is taken up by a run of other settings (`resume_force=true`), and what counts as finite."""

import math
from typing import Any

import pytest
import torch

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import TrainConfig
from byol_cli.training.checkpoint_writing import all_finite
from byol_cli.training.setup import Run, prepare

WORDS = [
    "backbone.widths=[4]",
    "backbone.blocks=[1]",
    "head.hidden_dim=6",
    "head.output_dim=4",
    "trainer.batch_size=8",
    "trainer.device=cpu",
]


def run_of(*words: str) -> Run:
    """A run of these settings, at step 0."""
    return prepare(load_config(TrainConfig, compose_config("train", [*WORDS, *words])), say=lambda line: None)


def with_one_step(run: Run) -> dict[str, Any]:
    """The checkpoint after a step."""
    state, images = run.state, torch.rand(2, 4, 1, 16, 16)
    state.scaler.scale(torch.cat(state.online(images[0], images[1])).square().sum()).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return {**state.tensors(), "config": {"optimizer": {"name": run.config.optimizer.name}}}


@pytest.mark.parametrize(("before", "after"), [("sgd", "adam"), ("adam", "lars"), ("lars", "sgd")])
def test_another_optimiser_begins_anew_and_it_is_told(before: str, after: str) -> None:
    checkpoint = with_one_step(run_of(f"optimizer={before}", "trainer.precision=fp32"))
    run, told = run_of(f"optimizer={after}", "trainer.precision=fp32"), []
    run.state.restore(checkpoint, source="run/last.pt", say=told.append)
    assert told == [f"warning: the optimiser begins anew: run/last.pt holds what {before} remembers"]
    with_one_step(run)
    assert all(value.isfinite().all() for value in run.state.changing_tensors())


@pytest.mark.parametrize(("before", "after"), [("fp32", "fp16"), ("fp16", "fp32"), ("fp16", "fp16")])
def test_a_scaler_s_state_is_taken_up_where_both_have_one(before: str, after: str) -> None:
    checkpoint = with_one_step(run_of("optimizer=sgd", f"trainer.precision={before}"))
    run = run_of("optimizer=sgd", f"trainer.precision={after}")
    if before == after:
        checkpoint["scaler"]["scale"] = 123.0
    scale = 123.0 if before == after else run.state.scaler.get_scale()
    run.state.restore(checkpoint, source="run/last.pt", say=pytest.fail)
    assert run.state.scaler.get_scale() == scale
    assert len(run.state.optimizer.state) > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_finite_is_said_of_tensors_of_several_types_together(bad: float, dtype: torch.dtype) -> None:
    good = [torch.ones(3), torch.ones(2, dtype=dtype), torch.ones(1, dtype=torch.bfloat16), torch.tensor(7)]
    assert all_finite([*good, torch.empty(0)])
    assert all_finite([])
    assert not all_finite([*good, torch.tensor([1.0, bad], dtype=dtype)])
