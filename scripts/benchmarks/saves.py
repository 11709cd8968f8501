"""What a periodic checkpoint costs the training loop: in the background, as the product saves, and waited for."""

import contextlib
import itertools
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from benchmarks.bare import random_views
from benchmarks.options import Options
from benchmarks.product import configured, prepared
from benchmarks.report import Row, Table, number, rates
from benchmarks.step import SMALL
from benchmarks.turns import Contender, Turn, seconds_by_turns
from byol_cli.training.loop import train
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.saving import Saver

SAVES = {"without": "no save", "with_saves": "saved beside the loop", "with_waited_saves": "saved and waited for"}
WITHOUT, *WITH = SAVES
BAR = 0.02  # of the loop, at a save every minute


def tables(options: Options) -> Iterator[Table]:
    """ResNet-18 on images of 32 px, and the network of the default run."""
    sizes = [f"optimizer=sgd trainer.batch_size={SMALL.batch} trainer.steps=1000000"]
    yield from _tables(
        options, f"resnet18, 32 px, batch {SMALL.batch}", [*SMALL.words, *" ".join(sizes).split()], steps=4, suffix=""
    )
    yield from _tables(options, "byol-train by default (digits)", ["trainer.steps=1000000"], steps=50, suffix="_digits")


def _tables(options: Options, title: str, words: Sequence[str], *, steps: int, suffix: str) -> Iterator[Table]:
    """The rates with a save in every round of `steps` steps, and what a save comes to."""
    trainer = configured(words).trainer
    contenders = [
        Contender(
            key=key,
            title=name,
            work=product,
            units=steps * trainer.batch_size,
            settings={"words": words, "steps": steps, "saves": key},
            ours=key != WITHOUT,
        )
        for key, name in SAVES.items()
    ]
    seconds = list(seconds_by_turns(contenders, rounds=options.rounds))
    yield Table(
        key="loop",
        title=f"{title}: a save every {steps} steps",
        unit="images/s",
        rows=rates(contenders, seconds),
        suffix=suffix,
    )
    stalls = {key: [row[place] - row[0] for row in seconds] for place, key in enumerate(SAVES) if key != WITHOUT}
    yield Table(
        key="save_stall",
        title=f"{title}: how much longer the loop takes by a save",
        unit="ms",
        rows=[
            Row(key=key, title=SAVES[key], values=[1000 * stall for stall in column]) for key, column in stalls.items()
        ],
        suffix=suffix,
        note=shares(statistics.median(stalls["with_saves"]), minutes=trainer.checkpoint_every_minutes),
    )


def shares(stall: float, *, minutes: float) -> str:
    """In words, which share of the loop it is to be held up for `stall` seconds, by default and every minute."""
    by_minute = stall / 60
    verdict = "below" if by_minute < BAR else "NOT BELOW"
    return (
        f"Beside the loop that is {number(100 * by_minute / minutes)} % of it at the default of a save every "
        f"{minutes:g} minutes, and {number(100 * by_minute)} % at one a minute: {verdict} {100 * BAR:g} %."
    )


def product(turn: Turn, *, words: Sequence[str], steps: int, saves: str) -> None:
    """The product's loop on the same views again and again; a save falls in the middle of each round.

    What is still being written at the end of a round is waited for: it would cost the next contender.
    """
    run = prepared(words)
    with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        saver = Saver(run, Path(folder), metrics={}, sync=lambda: None, say=print)

        def after_step(_loss: Tensor, _gradient_norm: Tensor) -> bool:
            if run.state.step % steps == steps // 2:
                save(saver, saves)
            if run.state.step % steps == 0:
                saver.look_back()
                turn()
            return True

        views = random_views(run)
        guard = NonfiniteGuard(run.state, skips=False, device=run.runtime.device)
        batches = itertools.repeat((views[0], views[1]))
        turn()
        try:
            train(
                run.state,
                batches,
                plan=run.plan,
                runtime=run.runtime,
                loss=run.loss,
                guard=guard,
                after_step=after_step,
            )
        finally:
            saver.close()


def save(saver: Saver, saves: str) -> None:
    """As the contender does it."""
    if saves == "with_saves":
        saver.save(best=False)
    elif saves == "with_waited_saves":
        saver.save_and_wait(best=False)
