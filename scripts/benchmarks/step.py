"""One training step on views that are already on the device: images a second."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import peers
from benchmarks.bare import bare_step, random_views
from benchmarks.options import Options
from benchmarks.product import RESNET18, RESNET50, prepared
from benchmarks.report import Table, rates
from benchmarks.turns import Contender, Turn, repeat, seconds_by_turns
from byol_cli.training.compilation import compile_networks
from byol_cli.training.loop import train
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.setup import Run

SIDE = 4096  # of the matrices whose products are the ceiling
HIDDEN_DIM, OUTPUT_DIM = 4096, 256

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained; `words` ask the product for the same."""

    architecture: str
    side: int
    batch: int
    steps: int  # a round
    words: Sequence[str]

    def prepared(self) -> Run:
        """The product's run."""
        always = "optimizer=sgd optimizer.weight_decay=1e-4 trainer.steps=1000000 head=byol".split()
        sizes = [f"head.hidden_dim={HIDDEN_DIM}", f"head.output_dim={OUTPUT_DIM}", f"trainer.batch_size={self.batch}"]
        return prepared([*self.words, *always, *sizes])


SMALL = Setting(architecture="resnet18", side=32, batch=64, steps=2, words=RESNET18)
LARGE = Setting(architecture="resnet50", side=224, batch=256, steps=10, words=RESNET50)


def tables(options: Options) -> Iterator[Table]:
    """The product's step, the peers', the floor, and the ceiling of matrix products."""
    setting = LARGE if torch.cuda.is_available() else SMALL

    def contender(key: str, title: str, work: Callable[..., None], *, ours: bool = False, **more: Any) -> Contender:
        settings = {"setting": setting, **more}
        return Contender(
            key=key, title=title, work=work, units=setting.steps * setting.batch, settings=settings, ours=ours
        )

    contenders = [
        contender("", "byol-cli", product, ours=True),
        contender("compiled", "byol-cli, trainer.compile=true", product, ours=True, compiled=True),
    ]
    if "lightly" in options.peers:
        contenders.append(contender("lightly", "lightly, fp32", peer, make=peers.lightly_step))
    if "byol-pytorch" in options.peers:
        contenders.append(contender("byol_pytorch", "byol-pytorch, fp32", peer, make=peers.byol_pytorch_step))
    contenders += [
        contender("bare", "floor: the bare loop, same networks and precision", bare),
        contender("colouring", "the colour half of its views, by itself", colouring),
        contender("matrix_products", "ceiling: as much arithmetic in large matrix products", matrix_products),
    ]
    yield Table(
        key="step",
        title=f"a step of {setting.architecture}, {setting.side} px, batch {setting.batch}",
        unit="images/s",
        rows=rates(contenders, seconds_by_turns(contenders, rounds=options.rounds)),
    )


def product(turn: Turn, *, setting: Setting, compiled: bool = False) -> None:
    """The product's own loop, given the same views again and again."""
    run = setting.prepared()
    if compiled:
        compile_networks(run, say=lambda _: None)

    def after_step(_loss: Tensor, _gradient_norm: Tensor) -> bool:
        if run.state.step % setting.steps == 0:
            turn()
        return True

    view1, view2 = random_views(run)
    batches = itertools.repeat((view1, view2))
    turn()
    guard = NonfiniteGuard(run.state, skips=False, device=run.runtime.device)
    train(run.state, batches, plan=run.plan, runtime=run.runtime, loss=run.loss, guard=guard, after_step=after_step)


def peer(turn: Turn, *, setting: Setting, make: Callable[..., Step]) -> None:
    """A step of another library."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    views = torch.randn(2, setting.batch, 3, setting.side, setting.side, device=device)
    repeat(turn, make(setting.architecture, views, hidden_dim=HIDDEN_DIM, output_dim=OUTPUT_DIM), steps=setting.steps)


def bare(turn: Turn, *, setting: Setting) -> None:
    """Forward, backward, optimizer and moving average, written down once more."""
    run = setting.prepared()
    repeat(turn, bare_step(run, random_views(run)), steps=setting.steps)


def colouring(turn: Turn, *, setting: Setting) -> None:
    """What becomes of crops on the device before the networks see them."""
    run = setting.prepared()
    shape = (2, setting.batch, run.splits.channels, setting.side, setting.side)
    crops = torch.randint(0, 256, shape, dtype=torch.uint8, device=run.runtime.device)
    finish = partial(run.views.finish, crops, indices=np.arange(setting.batch), mean=run.mean, std=run.std)
    numbers = itertools.count()
    repeat(turn, lambda: finish(epoch=next(numbers)), steps=setting.steps)


def matrix_products(turn: Turn, *, setting: Setting) -> None:
    """The additions and multiplications of one step, all of them in matrix products that suit the processor best."""
    run = setting.prepared()
    with FlopCounterMode(display=False) as counter:
        bare_step(run, random_views(run))()
    rows = counter.get_total_flops() // (2 * SIDE * SIDE)
    dtype = run.runtime.autocast_dtype or torch.float32
    left, right = torch.randn(2, SIDE, SIDE, device=run.runtime.device, dtype=dtype)
    heights = [min(SIDE, rows - start) for start in range(0, rows, SIDE)]
    repeat(turn, lambda: [left[:height] @ right for height in heights], steps=setting.steps)
