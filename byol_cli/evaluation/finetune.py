"""Fine-tuning (paper section 4.2): the backbone trained further with all labels or a few, and from random weights.

What pre-training is worth is the difference of the two, which are trained alike.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from byol_cli.data.sources import Splits, Subset
from byol_cli.evaluation.classifier import Reading, Start, epochs_for, from_scratch, from_trained
from byol_cli.evaluation.few_label import draw_fraction, draw_labelled
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.task import Task, task_of
from byol_cli.evaluation.tuned import training_settings, tune_and_test
from byol_cli.model.backbones import Backbone
from byol_cli.schema.finetune import FinetuneConfig
from byol_cli.training.runtime import Runtime


def finetune_results(
    config: FinetuneConfig,
    *,
    splits: Splits,
    trained: Backbone,
    make_backbone: Callable[[], Backbone],
    reading: Reading,
    runtime: Runtime,
    seed: int,
    log: Callable[[str], None],
) -> Iterator[Result]:
    """For each amount of labels, what is reached from none (`scratch`) and from the trained backbone (`trained`).

    The first draw of labels chooses the learning rate, on the selection split, for all draws. Of several draws, top1
    and top5 are means and `std` is the deviation of top1.

    Args:
        config: how to train, and with how many labels.
        splits: training images, the selection split that chooses, and the test set, which is touched at the end.
        trained: copied, never changed.
        make_backbone: the same network with random weights from torch's generator, new each time.
        reading: how images come to the device.
        runtime: where they are trained, and in which precision.
        seed: of drawn labels, random weights, and the order and crops of the images.
        log: is told in one line what each network reached.

    Raises:
        InputError: there are no labels, or one class alone.
        TrainingFault: training diverged with every learning rate.
    """
    task = task_of(splits, measure="finetune")
    starts = (from_scratch(make_backbone), from_trained(trained, head_factor=config.head_factor))
    for amount in _amounts(config, task.train, seed=seed):
        for start in starts:
            title = f"finetune, {amount.words}, {start.name}"
            result = _measure(config, task, amount, start, reading=reading, runtime=runtime, seed=seed)
            log(f"{title}: top-1 {result.figures['top1']:.3f} on {task.measured_on}")
            yield result


@dataclass(frozen=True, kw_only=True, eq=False)
class _Amount:
    """Labels to train with: in words, as settings, and the images that have one, by draw."""

    words: str
    settings: dict[str, Any]
    draws: list[Subset]


def _amounts(config: FinetuneConfig, train: Subset, *, seed: int) -> Iterator[_Amount]:
    labels = train.labels
    assert labels is not None
    for fraction in config.fractions:
        some = [draw_fraction(labels, fraction=fraction, seed=seed, draw=draw) for draw in range(config.draws)]
        yield _Amount(
            words="all labels" if fraction == 1 else f"{100 * fraction:g}% of the labels",
            settings={"fraction": fraction},
            draws=[train] if fraction == 1 else [train.take(np.sort(chosen)) for chosen in some],
        )
    for number in config.labels_per_class:
        some = [draw_labelled(labels, labels_per_class=number, seed=seed, draw=draw) for draw in range(config.draws)]
        yield _Amount(
            words=f"{number:,} labels a class",
            settings={"labels_per_class": number},
            draws=[train.take(np.sort(chosen)) for chosen in some],
        )


def _measure(
    config: FinetuneConfig,
    task: Task,
    amount: _Amount,
    start: Start,
    *,
    reading: Reading,
    runtime: Runtime,
    seed: int,
) -> Result:
    rates, tested = config.learning_rates, []
    for draw, train in enumerate(amount.draws):
        words = f", draw {draw + 1} of {len(amount.draws)}" if len(amount.draws) > 1 else ""
        tested.append(
            tune_and_test(
                start,
                train,
                task=task,
                config=config,
                learning_rates=rates,
                epochs=epochs_for(len(train), config, epochs=config.epochs, seed=seed + draw),
                reading=reading,
                runtime=runtime,
                seed=seed + draw,
                title=f"finetune, {amount.words}, {start.name}{words}",
            )
        )
        rates = [tested[0].learning_rate]
    first = tested[0]
    settings = training_settings(config, first, task=task, reading=reading)
    for name in ("fractions", "labels_per_class"):  # of all results together; that of this one is its amount
        del settings[name]
    settings |= {**amount.settings, "draws": len(tested), "seed": seed}
    if len(tested) == 1:
        scores = first.scores
    else:
        top1s = [one.figures["top1"] for one in tested]
        means = {name: float(np.mean([one.figures[name] for one in tested])) for name in first.figures}
        scores = {"figures": {**means, "std": float(np.std(top1s))}}
        settings["accuracies"] = top1s
    return Result(
        measure="finetune", representation=start.name, measured_on=task.measured_on, settings=settings, **scores
    )
