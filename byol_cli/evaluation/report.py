"""All measurements of one set of features, and the table that sets trained, untrained and raw pixels side by side."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from byol_cli.evaluation.few_label import few_label_accuracy
from byol_cli.evaluation.knn import CHUNK, knn_accuracy
from byol_cli.evaluation.linear import linear_probe
from byol_cli.schema.evaluation import EvaluationConfig
from byol_cli.training.gauges import effective_rank

_RANK_IMAGES = 2048

_ACCURACY_COLUMNS = {"linear": "linear_top1", "k-NN": "knn_top1", "few-label": "few_label_top1"}
_RANK_COLUMN = {"effective rank": "effective_rank"}
_CAPTIONS = {
    "test": "accuracy on the test images",
    "selection": "accuracy on the selection split, held out of the training images (there is no test set)",
    None: "no labels: effective rank of the features, from 0 (all alike) to 1 (spread over all dimensions)",
}


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Accuracies in [0, 1] on the images of `measured_on`, None where not measured; effective rank in [0, 1].

    `measured_on` is None where labels are missing or all the same; then all accuracies are None.
    """

    linear_top1: float | None
    knn_top1: float | None
    few_label_top1: float | None
    effective_rank: float
    measured_on: Literal["test", "selection"] | None


class _Labelled(NamedTuple):
    features: torch.Tensor
    labels: torch.Tensor


def measure(
    *,
    train_features: torch.Tensor,
    train_labels: torch.Tensor,
    selection_features: torch.Tensor | None,
    selection_labels: torch.Tensor | None,
    test_features: torch.Tensor | None,
    test_labels: torch.Tensor | None,
    config: EvaluationConfig,
    num_classes: int,
    seed: int,
) -> Scores:
    """Every measurement whose config is not null, on the test set, else on the selection split.

    With a test set, the selection split chooses the linear probe's learning rate and then joins the training images
    (of the linear probe and of k-NN). Without one it is what is measured, and chooses nothing. The effective rank is
    that of up to 2048 training images.

    Args:
        train_features, selection_features, test_features: `(images, dim)`, all on one device, where the linear probe
            and k-NN are computed; None for a split that does not exist.
        train_labels, selection_labels, test_labels: int64 `(images,)` in [0, num_classes), on the same device; -1 for
            an image without a label, which is left out.
        seed: of the linear probe's batches.
    """
    train = _labelled(train_features, train_labels)
    selection = _labelled(selection_features, selection_labels)
    test = _labelled(test_features, test_labels)
    rank = effective_rank(train_features[:: math.ceil(len(train_features) / _RANK_IMAGES)])
    measured = test or selection
    if train is None or measured is None or len(train.labels.unique()) < 2:
        return Scores(linear_top1=None, knn_top1=None, few_label_top1=None, effective_rank=rank, measured_on=None)
    chooser = selection if test else None
    linear_top1 = knn_top1 = few_label_top1 = None
    if config.linear is not None:
        linear_top1 = linear_probe(
            train=train.features,
            train_labels=train.labels,
            selection=chooser.features if chooser else None,
            selection_labels=chooser.labels if chooser else None,
            test=measured.features,
            test_labels=measured.labels,
            num_classes=num_classes,
            epochs=config.linear.epochs,
            batch_size=config.linear.batch_size,
            learning_rates=config.linear.learning_rates,
            seed=seed,
        ).top1
    if config.knn is not None:
        knn_top1 = knn_accuracy(
            bank=torch.cat([train.features, chooser.features]) if chooser else train.features,
            bank_labels=torch.cat([train.labels, chooser.labels]) if chooser else train.labels,
            queries=measured.features,
            query_labels=measured.labels,
            neighbors=config.knn.neighbors,
            temperature=config.knn.temperature,
            num_classes=num_classes,
            chunk=CHUNK,
        )
    if config.few_label is not None:
        few_label_top1 = few_label_accuracy(
            train=train_features,
            train_labels=train_labels,
            test=measured.features,
            test_labels=measured.labels,
            labels_per_class=config.few_label.labels_per_class,
            draws=config.few_label.draws,
            regularization=config.few_label.regularization,
            seed=config.few_label.seed,
        ).mean
    return Scores(
        linear_top1=linear_top1,
        knn_top1=knn_top1,
        few_label_top1=few_label_top1,
        effective_rank=rank,
        measured_on="test" if test else "selection",
    )


def score_table(trained: Scores, untrained: Scores, pixels: Scores | None) -> str:
    """The scores as aligned plain text under a caption: accuracies, or the effective rank where there are no labels."""
    rows = {"trained backbone": trained, "untrained backbone": untrained}
    if pixels is not None:
        rows["raw pixels"] = pixels
    columns = _RANK_COLUMN if trained.measured_on is None else _ACCURACY_COLUMNS
    name_width = max(len(name) for name in rows)
    lines = [_CAPTIONS[trained.measured_on], "  ".join([" " * name_width, *(f"{title:>5}" for title in columns)])]
    for name, scores in rows.items():
        values = [getattr(scores, field) for field in columns.values()]
        cells = ["-" if value is None else f"{value:.3f}" for value in values]
        aligned = [cell.rjust(max(len(title), 5)) for title, cell in zip(columns, cells, strict=True)]
        lines.append("  ".join([name.ljust(name_width), *aligned]))
    return "\n".join(lines)


def _labelled(features: torch.Tensor | None, labels: torch.Tensor | None) -> _Labelled | None:
    """The images that have a label; None where there are none."""
    if features is None or labels is None or not (labels >= 0).any():
        return None
    has_label = labels >= 0
    return _Labelled(features[has_label], labels[has_label])
