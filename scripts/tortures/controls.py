"""Negative controls: a piece of the state is spoilt before a run goes on, and the comparison must notice it."""

import contextlib
import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from benchmarks.report import markdown

from byol_cli.cli.command import DONE
from byol_cli.cli.train import train
from byol_cli.schema.load import quoted
from byol_cli.training import pretrain
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.plan import TrainingPlan
from tortures.comparison import Comparison, compare

FACTORY = "backbone.factory=tortures.network:build"
STEPS, BREAK = 16, 8
WORDS = (
    "backbone=custom head.hidden_dim=16 head.output_dim=8 trainer.device=cpu trainer.precision=fp16 "
    f"trainer.batch_size=32 trainer.steps={STEPS} trainer.checkpoint_every_steps={BREAK} trainer.keep_last=9 "
    "trainer.log_every_steps=1 optimizer.warmup_fraction=0 evaluation=[]"
).split()

Checkpoint = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Control:
    """A piece of the state, and how it is spoilt: in the checkpoint, or while the run goes on."""

    piece: str
    how: str
    spoil: Callable[[Checkpoint], None] = lambda checkpoint: None
    meanwhile: Callable[[], AbstractContextManager[Any]] = nullcontext


def spoil_each(folder: Path) -> dict[Control, Comparison]:
    """One run from end to end, then one for each control that goes on from its checkpoint in the middle.

    Raises:
        ChildProcessError: a run failed.
    """
    whole = folder / "whole"
    run([*WORDS, f"hydra.run.dir={quoted(whole)}"])
    comparisons = {}
    for place, control in enumerate(CONTROLS):
        run_dir = folder / f"control_{place}"
        break_off(whole, run_dir)
        edit(run_dir / "checkpoints" / f"step_{BREAK:08}.pt", control.spoil)
        with control.meanwhile():
            run([f"resume={quoted(run_dir)}"])
        comparisons[control] = compare(whole, run_dir)
    return comparisons


def run(words: Sequence[str]) -> None:
    """`byol-train` in this process, silently; raises ChildProcessError where it fails."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        no_pictures(),
        StopRequest(program="byol-train") as stop,
    ):
        code = train([*words, FACTORY], stop=stop)
    if code != DONE:
        raise ChildProcessError(f"byol-train {' '.join(words)} ended with exit code {code}:\n{printed.getvalue()}")


@contextmanager
def no_pictures() -> Iterator[None]:
    """They take as long as all the rest of so short a run."""
    with patch.object(pretrain, "save_curves"), patch.object(pretrain, "save_views"):
        yield


def break_off(whole: Path, run_dir: Path) -> None:
    """Make a folder as the run in `whole` would have left it, killed right after the checkpoint in its middle."""
    shutil.copytree(whole, run_dir, ignore=shutil.ignore_patterns("summary.json", f"step_{STEPS:08}.pt*", "last.pt*"))


def edit(path: Path, change: Callable[[Checkpoint], None]) -> None:
    """Write the checkpoint anew, changed, with its digest."""
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")


def begin_random_numbers_anew(checkpoint: Checkpoint) -> None:
    """As when the run began."""
    checkpoint["rng"]["cpu"] = torch.Generator().manual_seed(checkpoint["config"]["seed"]).get_state()


def begin_scaler_anew(checkpoint: Checkpoint) -> None:
    """As when the run began."""
    checkpoint["scaler"] = torch.amp.GradScaler("cpu").state_dict()


def forget_momentum(checkpoint: Checkpoint) -> None:
    """All 0."""
    for remembered in checkpoint["optimizer"]["state"].values():
        remembered["momentum_buffer"].zero_()


def forget_target(checkpoint: Checkpoint) -> None:
    """The online network's weights in place of those that followed it."""
    for name, weights in parameters(checkpoint, "target"):
        weights.copy_(checkpoint["online"][name])


def forget_online(checkpoint: Checkpoint) -> None:
    """The target's weights in place of its own."""
    for name, weights in parameters(checkpoint, "target"):
        checkpoint["online"][name].copy_(weights)


def parameters(checkpoint: Checkpoint, network: str) -> list[tuple[str, torch.Tensor]]:
    """Name and value of a network's weights, without BatchNorm's statistics."""
    return [(name, tensor) for name, tensor in checkpoint[network].items() if not is_statistic(name)]


def forget_statistics(checkpoint: Checkpoint, *, network: str) -> None:
    """BatchNorm's running statistics as when the run began."""
    for name, tensor in checkpoint[network].items():
        if is_statistic(name):
            tensor.fill_(1 if name.endswith("running_var") else 0)


def is_statistic(name: str) -> bool:
    """Whether BatchNorm counts or averages in this buffer."""
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def take_a_step_back(checkpoint: Checkpoint) -> None:
    """Its last step would be taken again."""
    checkpoint["step"] -= 1


@contextmanager
def schedule_begun_anew(name: str) -> Iterator[None]:
    """A schedule that takes the step at which the run goes on for step 0."""
    of_step = getattr(TrainingPlan, name)
    with patch.object(TrainingPlan, name, lambda self, step: of_step(self, max(0, step - BREAK))):
        yield


@contextmanager
def data_begun_anew() -> Iterator[None]:
    """The images and draws of the run's first steps once more."""
    batches = pretrain.training_batches
    with patch.object(pretrain, "training_batches", lambda *args, **more: batches(*args, **{**more, "start_step": 0})):
        yield


CONTROLS = (
    Control(piece="nothing", how="written anew as it was"),
    Control(piece="random generator", how="seeded anew", spoil=begin_random_numbers_anew),
    Control(piece="loss scaler", how="as at the start", spoil=begin_scaler_anew),
    Control(piece="momentum", how="0", spoil=forget_momentum),
    Control(piece="online weights", how="the target's", spoil=forget_online),
    Control(piece="online statistics", how="as at the start", spoil=partial(forget_statistics, network="online")),
    Control(piece="target weights", how="the online network's", spoil=forget_target),
    Control(piece="target statistics", how="as at the start", spoil=partial(forget_statistics, network="target")),
    Control(piece="step", how="one too few", spoil=take_a_step_back),
    Control(piece="place in the data", how="from the first image", meanwhile=data_begun_anew),
    Control(piece="tau", how="its schedule from step 0", meanwhile=partial(schedule_begun_anew, "tau")),
    Control(
        piece="learning rate", how="its schedule from step 0", meanwhile=partial(schedule_begun_anew, "learning_rate")
    ),
)


def passed(comparisons: dict[Control, Comparison]) -> bool:
    """Whether a tensor differs wherever something was spoilt, and nothing at all where nothing was."""
    untouched, *spoilt = comparisons.values()
    return not untouched.names and all(comparison.tensors for comparison in spoilt)


def table(comparisons: dict[Control, Comparison]) -> str:
    """A row a control, in Markdown."""
    rows = [["spoilt", "how", "tensors that differ", "other values"]]
    for control, comparison in comparisons.items():
        rows.append([control.piece, control.how, str(len(comparison.tensors)), str(len(comparison.values))])
    return markdown(rows)
