"""All measurements of one set of features, which stay as they are."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from byol_cli.data.sources import Subset
from byol_cli.evaluation.features import labels_of, without_missing
from byol_cli.evaluation.few_label import few_label_accuracy
from byol_cli.evaluation.knn import CHUNK, knn_predict
from byol_cli.evaluation.label_free import label_free_figures
from byol_cli.evaluation.linear import LinearResult, linear_probe
from byol_cli.evaluation.logistic import logistic_regression
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.scoring import classification, one_guess
from byol_cli.evaluation.task import Task
from byol_cli.schema.evaluation import EvaluationConfig, FewLabelConfig, KnnConfig, LinearConfig, LogisticConfig

FROZEN = ("linear", "knn", "logistic", "few_label")
"""Measurements that take labels."""


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """The linear probe's augmented mode: `probe` is `augmented_linear_probe` with the images given, `settings` tell how
    they are cropped."""

    probe: Callable[..., LinearResult]
    settings: dict[str, Any]


class _Known(NamedTuple):
    features: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class _Features:
    """Of the images of a task that can be read, and how results on them begin."""

    representation: str
    task: Task
    seed: int
    train: _Known
    chooser: _Known | None
    measured: _Known

    @property
    def together(self) -> _Known:
        """Training images and those of the selection split where that only chooses."""
        if self.chooser is None:
            return self.train
        features, labels = zip(self.train, self.chooser, strict=True)
        return _Known(torch.cat(features), torch.cat(labels))

    def result(self, measure: str, settings: dict[str, Any], *, train_images: int, **found: Any) -> Result:
        measured_images = len(self.measured.labels)
        counts = {
            "train_images": train_images,
            "measured_images": measured_images,
            "skipped_images": len(self.task.measured) - measured_images,
        }
        return Result(
            measure=measure,
            representation=self.representation,
            measured_on=self.task.measured_on,
            settings={**settings, **counts, "seed": self.seed},
            **found,
        )

    def classified(self, guesses: Tensor) -> dict[str, Any]:
        return classification(guesses, self.measured.labels, class_names=self.task.class_names, seed=self.seed)


def measure(
    *,
    representation: str,
    task: Task | None,
    train: Subset,
    features: Callable[[Subset], Tensor],
    pairs: Tensor | None,
    augmented: Augmented | None,
    config: EvaluationConfig,
    seed: int,
) -> Iterator[Result]:
    """Every frozen measurement whose config is not null, one after another; and label_free.

    With a test set, the selection split chooses the linear probe's learning rate and then joins the training images (of
    the linear probe, the logistic regression and k-NN). Without one it is what is measured, and chooses nothing.

    Args:
        representation: trained, untrained or pixels.
        task: what there is to tell apart; None where labels are missing: then label_free is the only measurement.
        train: the training images, those of the task where there is one.
        features: of a part's images, `(images, dim)`, NaN in the rows of those that cannot be read; all on one device,
            where the linear probe and k-NN are computed.
        pairs: features of two views each of some training images, `(images, 2, dim)`, or None.
        augmented: for the linear probe's augmented mode.
        seed: of the linear probe's batches, the draws of labels and the bootstrap.
    """

    def known(part: Subset) -> _Known:
        return _Known(*without_missing(features(part), labels_of(part)))

    known_train = known(train)
    if task is not None:
        found = _Features(
            representation=representation,
            task=task,
            seed=seed,
            train=known_train,
            chooser=None if task.chooser is None else known(task.chooser),
            measured=known(task.measured),
        )
        if config.linear is not None:
            yield _linear(found, config.linear, augmented)
        if config.knn is not None:
            yield _knn(found, config.knn)
        if config.logistic is not None:
            yield _logistic(found, config.logistic)
        if config.few_label is not None:
            yield from _few_label(found, config.few_label)
    yield _label_free(representation, known_train.features, pairs)


def _linear(found: _Features, config: LinearConfig, augmented: Augmented | None) -> Result:
    probe: dict[str, Any] = {
        "train": found.train.features,
        "selection": found.chooser.features if found.chooser else None,
        "selection_labels": found.chooser.labels if found.chooser else None,
        "test": found.measured.features,
        "num_classes": len(found.task.class_names),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rates": config.learning_rates,
        "seed": found.seed,
    }
    settings = asdict(config)
    if config.mode == "augmented" and augmented is not None:
        fitted = augmented.probe(**probe)
        settings |= augmented.settings
    else:
        fitted = linear_probe(**probe, train_labels=found.train.labels)
    settings |= {"learning_rate": fitted.learning_rate, "selection_top1": fitted.selection_top1}
    images = len(found.together.labels)
    return found.result("linear", settings, train_images=images, **found.classified(fitted.test_ranked))


def _knn(found: _Features, config: KnnConfig) -> Result:
    bank = found.together
    predictions = knn_predict(
        bank=bank.features,
        bank_labels=bank.labels,
        queries=found.measured.features,
        neighbors=config.neighbors,
        temperature=config.temperature,
        num_classes=len(found.task.class_names),
        chunk=CHUNK,
    )
    images = len(bank.labels)
    settings = {**asdict(config), "voting_neighbors": min(config.neighbors, images)}
    return found.result("knn", settings, train_images=images, **found.classified(one_guess(predictions)))


def _logistic(found: _Features, config: LogisticConfig) -> Result:
    bank = found.together
    guesses = logistic_regression(
        train=bank.features,
        train_labels=bank.labels,
        test=found.measured.features,
        regularization=config.regularization,
    )
    return found.result("logistic", asdict(config), train_images=len(bank.labels), **found.classified(guesses))


def _few_label(found: _Features, config: FewLabelConfig) -> Iterator[Result]:
    """Labels are drawn of the training images alone; standardisation is by all of them, which takes no label."""
    amounts: list[dict[str, Any]] = [
        *({"labels_per_class": number} for number in config.numbers_per_class),
        *({"fraction": fraction} for fraction in config.fractions),
    ]
    how: dict[str, Any] = {"draws": config.draws, "regularization": config.regularization}
    for amount in amounts:
        reached = few_label_accuracy(
            train=found.train.features,
            train_labels=found.train.labels,
            test=found.measured.features,
            test_labels=found.measured.labels,
            seed=found.seed,
            **how,
            **amount,
        )
        yield found.result(
            "few_label",
            {**amount, **how, "accuracies": list(reached.accuracies)},
            train_images=reached.images,
            figures={"top1": reached.mean, "std": reached.std},
        )


def _label_free(representation: str, features: Tensor, pairs: Tensor | None) -> Result:
    return Result(
        measure="label_free",
        representation=representation,
        measured_on="train",
        figures=label_free_figures(features, pairs),
        settings={"images": len(features), "pairs": 0 if pairs is None else len(pairs)},
    )
