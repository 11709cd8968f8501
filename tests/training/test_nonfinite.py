"""A loss or gradient that is no finite number: nothing of such a step stays, or it is counted."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.losses import regression_loss
from byol_cli.model.backbones import build_backbone
from byol_cli.schema.command import TrainConfig
from byol_cli.training.loop import train
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.plan import make_plan
from byol_cli.training.runtime import resolve_runtime
from byol_cli.training.state import build_state

WORDS = [
    "head.hidden_dim=6",
    "head.output_dim=4",
    "backbone.widths=[4]",
    "backbone.blocks=[1]",
    "trainer.batch_size=8",
    "trainer.device=cpu",
    "optimizer.warmup_fraction=0",
]


class Run:
    """A tiny run; views of the steps in `broken` are no numbers."""

    def __init__(self, *words: str, skips: bool) -> None:
        self.config = load_config(TrainConfig, compose_config("train", [*WORDS, *words]))
        self.runtime = resolve_runtime(device="cpu", precision=self.config.trainer.precision)
        self.plan = make_plan(self.config, num_images=32)
        self.state = build_state(self.config, self.make_backbone, self.runtime)
        self.guard = NonfiniteGuard(self.state, skips=skips, device=self.runtime.device)
        self.loss: Any = regression_loss

    @staticmethod
    def make_backbone() -> Any:
        return build_backbone(
            "resnet_small", in_channels=1, image_size=8, widths=[4], blocks=[1], zero_init_residual=False
        )

    def take_steps(self, number: int, *, broken: int | None = None) -> None:
        def views(step: int) -> tuple[Tensor, Tensor]:
            generator = torch.Generator().manual_seed(step)
            view1, view2 = torch.randn(2, 8, 1, 8, 8, generator=generator)
            return (view1 * torch.nan, view2) if step == broken else (view1, view2)

        end = self.state.step + number
        train(
            self.state,
            (views(step) for step in range(self.state.step, end)),
            plan=self.plan,
            runtime=self.runtime,
            loss=self.loss,
            guard=self.guard,
            after_step=lambda *_: self.state.step < end,
        )

    def everything(self) -> dict[str, Any]:
        return copy.deepcopy({name: value for name, value in self.state.tensors().items() if name != "step"})


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return torch.equal(left, right) if isinstance(left, Tensor) else left == right


def test_a_skipped_step_leaves_weights_target_optimiser_and_statistics_as_they_were() -> None:
    run = Run("trainer.precision=fp32", skips=True)
    run.take_steps(2)
    before = run.everything()
    for group in before["optimizer"]["param_groups"]:
        group["lr"] = run.plan.learning_rate(2)  # the schedule goes on
    run.take_steps(1, broken=2)
    assert same(before, run.everything())
    assert (run.state.step, run.guard.take_count(), run.guard.take_count()) == (3, 1, 0)
    run.take_steps(1)
    assert not same(before, run.everything())
    assert run.guard.take_count() == 0


def test_without_skipping_the_broken_step_is_taken_and_counted() -> None:
    run = Run("trainer.precision=fp32", skips=False)
    run.take_steps(2, broken=1)
    assert any(value.isnan().any() for value in run.state.online.state_dict().values())
    assert run.guard.take_count() == 1


def test_a_gradient_alone_that_is_not_finite_counts_too() -> None:
    run = Run("trainer.precision=fp32", skips=True)
    run.loss = lambda prediction, target: (prediction - prediction.detach()).abs().sqrt().mean()
    before = run.everything()["online"]
    run.take_steps(1)  # the root's slope at 0 is infinite, the loss is 0
    assert run.guard.take_count() == 1
    assert same(before, run.everything()["online"])


def test_fp16_leaves_an_overflowing_gradient_to_loss_scaling() -> None:
    run = Run("trainer.precision=fp16", skips=False)
    run.loss = lambda prediction, target: regression_loss(prediction, target) * 1e4  # times 65,536: beyond fp16
    before, scale = run.everything(), run.state.scaler.get_scale()
    run.take_steps(1)
    assert run.state.scaler.get_scale() == scale / 2
    assert run.guard.take_count() == 0
    after = run.everything()
    assert before["target"].keys() == after["target"].keys()
    weights = [name for name in before["target"] if "running" not in name and "tracked" not in name]
    assert all(torch.equal(before["target"][name], after["target"][name]) for name in weights)
    assert same(before["optimizer"]["state"], after["optimizer"]["state"])


@pytest.mark.parametrize("skips", [True, False])
def test_fp16_with_a_loss_that_is_no_number_is_no_matter_of_scaling(skips: bool) -> None:
    run = Run("trainer.precision=fp16", skips=skips)
    before = run.everything()["target"]
    run.take_steps(1, broken=0)
    assert run.guard.take_count() == 1
    assert same(before, run.everything()["target"]) == skips  # else BatchNorm's statistics are broken
