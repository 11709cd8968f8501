"""All measurements of one set of features, which stay as they are."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from byol_cli.evaluation.few_label import few_label_accuracy
from byol_cli.evaluation.knn import CHUNK, knn_predict
from byol_cli.evaluation.label_free import label_free_figures
from byol_cli.evaluation.linear import LinearResult, linear_probe
from byol_cli.evaluation.logistic import logistic_regression
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.scoring import classification, one_guess
from byol_cli.schema.evaluation import EvaluationConfig, FewLabelConfig, KnnConfig, LinearConfig, LogisticConfig

AugmentedProbe = Callable[..., LinearResult]
"""`augmented_linear_probe` with the images given."""


class _Labelled(NamedTuple):
    features: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Images with labels, and how results on them begin; `chooser` is the selection split where that chooses."""

    representation: str
    class_names: Sequence[str]
    seed: int
    train: _Labelled
    chooser: _Labelled | None
    measured: _Labelled
    measured_on: Literal["test", "selection"]

    @property
    def together(self) -> _Labelled:
        """Training images and those of the selection split where that only chooses."""
        if self.chooser is None:
            return self.train
        features, labels = zip(self.train, self.chooser, strict=True)
        return _Labelled(torch.cat(features), torch.cat(labels))

    def result(self, measure: str, settings: dict[str, Any], **found: Any) -> Result:
        return Result(
            measure=measure,
            representation=self.representation,
            measured_on=self.measured_on,
            settings={**settings, "seed": self.seed},
            **found,
        )

    def classified(self, guesses: Tensor) -> dict[str, Any]:
        return classification(guesses, self.measured.labels, class_names=self.class_names, seed=self.seed)


def measure(
    *,
    representation: str,
    train_features: Tensor,
    train_labels: Tensor,
    selection_features: Tensor | None,
    selection_labels: Tensor | None,
    test_features: Tensor | None,
    test_labels: Tensor | None,
    pairs: Tensor | None,
    augmented: AugmentedProbe | None,
    config: EvaluationConfig,
    class_names: Sequence[str],
    seed: int,
) -> list[Result]:
    """Every frozen measurement whose config is not null, on the test set, else on the selection split; and label_free.

    With a test set, the selection split chooses the linear probe's learning rate and then joins the training images (of
    the linear probe, the logistic regression and k-NN). Without one it is what is measured, and chooses nothing. Where
    labels are missing, or those of the training images all the same, label_free is the only one.

    Args:
        representation: trained, untrained or pixels.
        train_features, selection_features, test_features: `(images, dim)`, all on one device, where the linear probe
            and k-NN are computed; None for a split that does not exist.
        train_labels, selection_labels, test_labels: int64 `(images,)`, places in `class_names`, on the same device; -1
            for an image without a label, which is left out.
        pairs: features of two views each of some training images, `(images, 2, dim)`, or None.
        augmented: for the linear probe's augmented mode.
        seed: of the linear probe's batches and of the bootstrap.
    """
    train = _labelled(train_features, train_labels)
    selection = _labelled(selection_features, selection_labels)
    test = _labelled(test_features, test_labels)
    measured = test or selection
    results = []
    if train is not None and measured is not None and len(train.labels.unique()) > 1:
        task = _Task(
            representation=representation,
            class_names=class_names,
            seed=seed,
            train=train,
            chooser=selection if test else None,
            measured=measured,
            measured_on="test" if test else "selection",
        )
        if config.linear is not None:
            results.append(_linear(task, config.linear, augmented))
        if config.knn is not None:
            results.append(_knn(task, config.knn))
        if config.logistic is not None:
            results.append(_logistic(task, config.logistic))
        if config.few_label is not None:
            results += _few_label(task, config.few_label, train_features, train_labels)
    return [*results, _label_free(representation, train_features, pairs)]


def _linear(task: _Task, config: LinearConfig, augmented: AugmentedProbe | None) -> Result:
    probe: dict[str, Any] = {
        "train": task.train.features,
        "selection": task.chooser.features if task.chooser else None,
        "selection_labels": task.chooser.labels if task.chooser else None,
        "test": task.measured.features,
        "test_labels": task.measured.labels,
        "num_classes": len(task.class_names),
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rates": config.learning_rates,
        "seed": task.seed,
    }
    if config.mode == "augmented" and augmented is not None:
        found = augmented(**probe)
    else:
        found = linear_probe(**probe, train_labels=task.train.labels)
    chosen = {"learning_rate": found.learning_rate, "selection_top1": found.selection_top1}
    guesses = torch.cat([one_guess(found.test_predictions), found.test_ranked[:, 1:]], dim=1)
    return task.result("linear", asdict(config) | chosen, **task.classified(guesses))


def _knn(task: _Task, config: KnnConfig) -> Result:
    predictions = knn_predict(
        bank=task.together.features,
        bank_labels=task.together.labels,
        queries=task.measured.features,
        neighbors=config.neighbors,
        temperature=config.temperature,
        num_classes=len(task.class_names),
        chunk=CHUNK,
    )
    return task.result("knn", asdict(config), **task.classified(one_guess(predictions)))


def _logistic(task: _Task, config: LogisticConfig) -> Result:
    guesses = logistic_regression(
        train=task.together.features,
        train_labels=task.together.labels,
        test=task.measured.features,
        regularization=config.regularization,
    )
    return task.result("logistic", asdict(config), **task.classified(guesses))


def _few_label(task: _Task, config: FewLabelConfig, features: Tensor, labels: Tensor) -> list[Result]:
    """Labels are drawn of the training images alone; standardisation is by all of them, which takes no label."""
    amounts: list[dict[str, Any]] = [
        *({"labels_per_class": number} for number in config.numbers_per_class),
        *({"fraction": fraction} for fraction in config.fractions),
    ]
    results = []
    for amount in amounts:
        found = few_label_accuracy(
            train=features,
            train_labels=labels,
            test=task.measured.features,
            test_labels=task.measured.labels,
            draws=config.draws,
            regularization=config.regularization,
            seed=config.seed,
            **amount,
        )
        settings = {
            **amount,
            "draws": config.draws,
            "regularization": config.regularization,
            "accuracies": list(found.accuracies),
            "draw_seed": config.seed,
        }
        results.append(task.result("few_label", settings, figures={"top1": found.mean, "std": found.std}))
    return results


def _label_free(representation: str, features: Tensor, pairs: Tensor | None) -> Result:
    return Result(
        measure="label_free",
        representation=representation,
        measured_on="train",
        figures=label_free_figures(features, pairs),
        settings={"images": len(features), "pairs": 0 if pairs is None else len(pairs)},
    )


def _labelled(features: Tensor | None, labels: Tensor | None) -> _Labelled | None:
    """The images that have a label; None where there are none."""
    if features is None or labels is None or not (labels >= 0).any():
        return None
    has_label = labels >= 0
    return _Labelled(features[has_label], labels[has_label])
