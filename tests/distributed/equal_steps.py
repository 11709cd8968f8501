"""Some steps in float64, by one process or its part by one of several: `equal_steps.py OUTPUT START STEPS words...`.

START is the file that steps before were written to, or `none`. Weights, losses and gradient norms go to OUTPUT.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from byol_cli.cli.command import DONE, Outcome, run_job
from byol_cli.cli.compose import compose_config, load_config
from byol_cli.data.build import build_splits
from byol_cli.data.loader import training_batches
from byol_cli.losses import LOSSES
from byol_cli.schema.command import TrainConfig
from byol_cli.training.distributed import check_same_weights
from byol_cli.training.loop import train
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.plan import make_plan
from byol_cli.training.ranks import is_first, joined, rank, world_size
from byol_cli.training.runtime import resolve_runtime
from byol_cli.training.state import backbone_maker, build_state
from byol_cli.views.pipeline import TwoViews

WORDS = (
    "backbone.widths=[4,8] backbone.blocks=[1,1] head.hidden_dim=16 head.output_dim=8 trainer.device=cpu "
    "trainer.precision=fp32 trainer.batch_size=32 trainer.accumulation_steps=2 trainer.steps=20 optimizer=lars "
    "optimizer.lr=2 ema.base_tau=0.9"
).split()


def main(output: Path, start: str, steps: int, words: list[str]) -> Outcome:
    """Train and write."""
    config = load_config(TrainConfig, compose_config("train", [*WORDS, *(w for w in words if w != "spoil")]))
    runtime = resolve_runtime(device="cpu", precision="fp32")
    splits = build_splits(config.dataset, timeout_seconds=10, log=lambda line: None)
    plan = make_plan(config, len(splits.pretrain))
    state = build_state(config, backbone_maker(config, in_channels=1), runtime)
    state.online.double()
    state.target.double()
    if start != "none":
        before = torch.load(start)
        state.online.load_state_dict(before["online"])
        state.target.load_state_dict(before["target"])
        state.optimizer.load_state_dict(before["optimizer"])
        state.step = before["step"]
    augmentation = config.augmentation
    views = TwoViews(
        view1=augmentation.view1,
        view2=augmentation.view2,
        image_size=augmentation.image_size,
        seed=config.seed,
        formulas=augmentation.formulas,
    )
    batches = training_batches(
        splits.pretrain,
        views,
        seed=config.seed,
        batch_size=config.trainer.batch_size,
        accumulation_steps=config.trainer.accumulation_steps,
        start_step=state.step,
        total_steps=plan.total_steps,
        num_workers=0,
        timeout_seconds=10,
        bad_images=splits.bad_images,
        device=runtime.device,
        mean=torch.tensor([0.5]),
        std=torch.tensor([0.5]),
        rank=rank(),
        world_size=world_size(),
    )
    figures: list[tuple[float, float]] = []

    def after_step(loss: Tensor, norm: Tensor) -> bool:
        figures.append((loss.item(), norm.item()))
        if "spoil" in words and rank() == 1 and state.step == 3:
            with torch.no_grad():  # one bit of one weight in one process
                state.target.projector.hidden.weight.view(torch.int64)[0, 0] ^= 1
        check_same_weights([state.online, state.target], step=state.step)
        return len(figures) < steps

    train(
        state,
        ((view1.double(), view2.double()) for view1, view2 in batches),
        plan=plan,
        runtime=runtime,
        loss=LOSSES["byol"],
        guard=NonfiniteGuard(state, skips=False, device=runtime.device),
        after_step=after_step,
    )
    if is_first():
        torch.save({**state.tensors(), "figures": figures}, output)
    return Outcome(DONE)


if __name__ == "__main__":
    output, start, steps, *words = sys.argv[1:]
    with joined():
        sys.exit(run_job("equal_steps", lambda: main(Path(output), start, int(steps), words)).exit_code)
