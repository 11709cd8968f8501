"""The whole training loop (data, views, schedules, figures, gauges) beside a bare one: images a second."""

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from benchmarks.bare import bare_step, random_views
from benchmarks.options import Options
from benchmarks.product import RESNET18, configured, prepared
from benchmarks.report import Table, rates
from benchmarks.turns import Contender, Turn, repeat, seconds_by_turns
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.loop import Loss
from byol_cli.training.pretrain import pretrain

BATCH = 64
ENDLESS = ["trainer.steps=1000000"]


def tables(options: Options) -> Iterator[Table]:
    """ResNet-18 on images of 32 px in memory, and the default run on handwritten digits."""
    yield _table(
        options,
        f"resnet18, 32 px, batch {BATCH}",
        [*RESNET18, "optimizer=sgd", f"trainer.batch_size={BATCH}"],
        suffix="",
    )
    yield _table(options, "byol-train by default (digits)", [], suffix="_digits")


def _table(options: Options, title: str, words: Sequence[str], *, suffix: str) -> Table:
    trainer = configured(words).trainer
    steps = trainer.gauges_every_steps  # a round: each holds one reading of the gauges
    settings = {"words": [*words, *ENDLESS], "steps": steps}
    units = steps * trainer.batch_size
    contenders = [
        Contender(key="", title="byol-cli", work=product, units=units, settings=settings, ours=True),
        Contender(key="bare", title="floor: the bare loop on one batch", work=bare, units=units, settings=settings),
    ]
    return Table(
        key="loop",
        title=f"the training loop, {title}",
        unit="images/s",
        rows=rates(contenders, seconds_by_turns(contenders, rounds=options.rounds)),
        suffix=suffix,
    )


def product(turn: Turn, *, words: Sequence[str], steps: int) -> None:
    """`pretrain` as the command calls it, but for an online probe that costs nothing."""
    run = prepared(words)
    run = replace(run, loss=_taking_turns(run.loss, turn, steps=steps))
    with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        pretrain(run, Path(folder), probe=lambda backbone: {"nothing": 0.0}, stop=StopRequest(program="benchmark"))


def bare(turn: Turn, *, words: Sequence[str], steps: int) -> None:
    """Forward, backward, optimizer and moving average of the same networks."""
    run = prepared(words)
    repeat(turn, bare_step(run, random_views(run)), steps=steps)


def _taking_turns(loss: Loss, turn: Turn, *, steps: int) -> Loss:
    """The loss, which waits for its turn in the middle of the first step and of every `steps`-th after that.

    It is the one part of a run that is called at every step, twice, and that can be replaced without touching the loop.
    """
    calls = itertools.count()

    def waiting(prediction: Tensor, target: Tensor) -> Tensor:
        if next(calls) % (2 * steps) == 0:
            turn()
        return loss(prediction, target)

    return waiting
