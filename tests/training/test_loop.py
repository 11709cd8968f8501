"""The loop does in each step what algorithm 1 of the paper says, in its order."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.losses import regression_loss, symmetric_loss
from byol_cli.model.backbones import build_backbone
from byol_cli.optim.build import build_optimizer
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.load import option_fields
from byol_cli.training.loop import train
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.plan import TrainingPlan, make_plan
from byol_cli.training.runtime import Runtime, resolve_runtime
from byol_cli.training.state import SCHEDULE_FIELDS, TrainingState, build_state

WORDS = [
    "head.hidden_dim=6",
    "head.output_dim=4",
    "backbone.widths=[4]",
    "backbone.blocks=[1]",
    "trainer.batch_size=8",
    "trainer.device=cpu",
    "trainer.precision=fp32",
    "optimizer.warmup_fraction=0",
    "optimizer.momentum=0",
    "optimizer.lr=0.1",
    "ema.base_tau=0.9",
]


class Setup:
    """A tiny run over 32 made-up images."""

    def __init__(self, *words: str) -> None:
        self.config = load_config(TrainConfig, compose_config("train", [*WORDS, *words]))
        self.runtime: Runtime = resolve_runtime(device="cpu", precision=self.config.trainer.precision)
        self.plan: TrainingPlan = make_plan(self.config, num_images=32)
        self.state: TrainingState = build_state(self.config, self.make_backbone, self.runtime)

    @staticmethod
    def make_backbone() -> Any:
        return build_backbone(
            "resnet_small", in_channels=1, image_size=8, widths=[4], blocks=[1], zero_init_residual=False
        )

    def views(self, number: int, size: int = 8) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(number)
        view1, view2 = torch.randn(2, size, 1, 8, 8, generator=generator)
        return view1, view2

    def run(self, batches: list[tuple[Tensor, Tensor]], *, steps: int) -> list[tuple[float, float]]:
        """Train for `steps`; returns loss and gradient norm of each."""
        figures: list[tuple[float, float]] = []

        def after_step(loss: Tensor, norm: Tensor) -> bool:
            figures.append((loss.item(), norm.item()))
            return len(figures) < steps

        train(
            self.state,
            iter(batches),
            plan=self.plan,
            runtime=self.runtime,
            loss=regression_loss,
            guard=self.guard(),
            after_step=after_step,
        )
        return figures

    def guard(self) -> NonfiniteGuard:
        return NonfiniteGuard(self.state, skips=False, device=self.runtime.device)


def gradients(setup: Setup, batches: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients of the mean over `batches`, by plain autograd on copies of the networks."""
    online, target = copy.deepcopy(setup.state.online), copy.deepcopy(setup.state.target)
    losses = [symmetric_loss(regression_loss, online(*views), target(*views)) for views in batches]
    loss = torch.stack(losses).mean()
    return loss.detach(), list(torch.autograd.grad(loss, list(online.parameters())))


def test_a_step_descends_the_gradient_and_then_moves_the_target_towards_the_new_weights() -> None:
    setup = Setup("optimizer.weight_decay=0")
    online, target = copy.deepcopy(setup.state.online), copy.deepcopy(setup.state.target)
    loss, expected = gradients(setup, [setup.views(0)])
    ((seen, norm),) = setup.run([setup.views(0)], steps=1)
    assert seen == pytest.approx(loss.item(), rel=1e-5)
    assert norm == pytest.approx(torch.cat([g.flatten() for g in expected]).norm().item(), rel=1e-4)
    for before, gradient, after in zip(online.parameters(), expected, setup.state.online.parameters(), strict=True):
        torch.testing.assert_close(after, before - 0.1 * gradient)
    followed = [*setup.state.online.backbone.parameters(), *setup.state.online.projector.parameters()]
    moved = list(setup.state.target.parameters())
    for old, new_online, after in zip(target.parameters(), followed, moved, strict=True):
        torch.testing.assert_close(after, 0.9 * old + 0.1 * new_online.detach())
    # Had the target moved before the optimiser's step, it would have gone towards the old weights.
    stale = [0.9 * old + 0.1 * new for old, new in zip(target.parameters(), online.parameters(), strict=False)]
    assert not all(torch.allclose(after, wrong, atol=1e-7) for after, wrong in zip(moved, stale, strict=True))


def test_no_gradient_reaches_the_target() -> None:
    setup = Setup()
    setup.run([setup.views(n) for n in range(3)], steps=3)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in setup.state.target.parameters())


def test_accumulated_parts_give_the_mean_of_their_gradients() -> None:
    setup = Setup("optimizer.weight_decay=0", "trainer.accumulation_steps=2")
    parts = [setup.views(0, size=4), setup.views(1, size=4)]
    before = copy.deepcopy(setup.state.online)
    loss, expected = gradients(setup, parts)
    ((seen, _),) = setup.run(parts, steps=1)
    assert seen == pytest.approx(loss.item(), rel=1e-5)
    for old, gradient, new in zip(before.parameters(), expected, setup.state.online.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_clipping_shortens_the_step_and_reports_the_norm_before_it() -> None:
    setup = Setup("optimizer.weight_decay=0", "trainer.clip_grad_norm=0.01")
    before = copy.deepcopy(setup.state.online)
    ((_, norm),) = setup.run([setup.views(0)], steps=1)
    moved = [new - old for old, new in zip(before.parameters(), setup.state.online.parameters(), strict=True)]
    assert norm > 0.01
    assert torch.cat([step.flatten() for step in moved]).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_with_weights_and_loss_in_float32(precision: str) -> None:
    setup = Setup(f"trainer.precision={precision}")
    figures = setup.run([setup.views(n) for n in range(3)], steps=3)
    assert all(0 < loss <= 8 for loss, _ in figures)
    assert {parameter.dtype for parameter in setup.state.online.parameters()} == {torch.float32}
    plain = Setup("trainer.precision=fp32")
    (loss, _), *_ = plain.run([plain.views(0)], steps=1)
    assert figures[0][0] == pytest.approx(loss, rel=0.05)


def test_learning_rate_and_tau_follow_the_plan() -> None:
    setup = Setup("trainer.steps=20", "optimizer.warmup_fraction=0.25", "optimizer.scale_lr=linear")
    rates: list[float] = []

    def after_step(loss: Tensor, norm: Tensor) -> bool:
        rates.append(setup.state.optimizer.param_groups[1]["lr"])
        return True

    batches = iter([setup.views(n) for n in range(20)])
    train(
        setup.state,
        batches,
        plan=setup.plan,
        runtime=setup.runtime,
        loss=regression_loss,
        guard=setup.guard(),
        after_step=after_step,
    )
    peak = 0.1 * 8 / 256
    assert rates[0] == 0
    assert rates[5] == pytest.approx(peak)
    assert rates[2] == pytest.approx(peak * 2 / 5)
    assert rates[19] < 0.02 * peak
    assert setup.plan.tau(0) == pytest.approx(0.9)
    assert setup.plan.tau(10) == pytest.approx(0.95)
    assert setup.plan.tau(20) == pytest.approx(1.0)


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
def test_no_step_waits_for_a_value_of_the_device(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, where tensors have shapes but no values: whatever asks for a value fails."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for that device
    setup = Setup(f"optimizer={optimizer}", "trainer.clip_grad_norm=1", "trainer.accumulation_steps=2")
    setup.state.online.to("meta")
    setup.state.target.to("meta")
    setup.state.optimizer = build_optimizer(
        module=setup.state.online, **option_fields(setup.config.optimizer, without=SCHEDULE_FIELDS)
    )
    setup.runtime = Runtime(device=torch.device("meta"), precision="fp32")
    batches = [(torch.empty(4, 1, 8, 8, device="meta"),) * 2] * 6
    steps: list[int] = []

    def count(loss: Tensor, norm: Tensor) -> bool:
        steps.append(setup.state.step)
        with pytest.raises(RuntimeError, match="meta"):  # the control: this is what waiting would look like
            loss.item()
        return len(steps) < 3

    train(
        setup.state,
        iter(batches),
        plan=setup.plan,
        runtime=setup.runtime,
        loss=regression_loss,
        guard=setup.guard(),
        after_step=count,
    )
    assert steps == [1, 2, 3]
