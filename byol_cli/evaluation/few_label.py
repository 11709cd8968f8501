"""How far do few labels go, a handful a class or a hundredth of all? Logistic regression, tested on all test images.

The case that self-supervision is for (the paper's semi-supervised training, section 4.2, here on frozen features). With
so few, it matters much which images get a label: hence the mean over many draws.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from byol_cli.evaluation.features import standardization
from byol_cli.evaluation.logistic import fitted


@dataclass(frozen=True, kw_only=True)
class FewLabelResult:
    """Accuracies in [0, 1], one a draw, their mean and standard deviation; `images` had a label in each."""

    images: int
    mean: float
    std: float
    accuracies: tuple[float, ...]


def few_label_accuracy(
    *,
    train: torch.Tensor,
    train_labels: torch.Tensor,
    test: torch.Tensor,
    test_labels: torch.Tensor,
    labels_per_class: int | None = None,
    fraction: float | None = None,
    draws: int,
    regularization: float,
    seed: int,
) -> FewLabelResult:
    """Fit on random labelled images, `draws` times, each tested on all test images.

    The features are standardised by all the training images, which takes no label.

    Args:
        train: features `(images, dim)`.
        train_labels: int64 `(images,)`; -1 for an image without a label. Two classes or more.
        test: features `(images, dim)`.
        test_labels: int64 `(images,)`.
        labels_per_class: a class with fewer labelled images gives all it has. Exactly one of this and `fraction`.
        fraction: of the labelled images of each class, in (0, 1]; one image at least.
        regularization: scikit-learn's C, the inverse strength, on standardised features.
        seed: of the draws.
    """
    mean, factor = standardization(train)
    labels, truth = train_labels.cpu().numpy(), test_labels.cpu().numpy()
    queries = ((test - mean) * factor).cpu().numpy()
    accuracies = []
    for draw in range(draws):
        if fraction is None:
            assert labels_per_class is not None
            chosen = draw_labelled(labels, labels_per_class=labels_per_class, seed=seed, draw=draw)
        else:
            chosen = draw_fraction(labels, fraction=fraction, seed=seed, draw=draw)
        examples = ((train[torch.from_numpy(chosen)] - mean) * factor).double().cpu().numpy()
        classifier = fitted(examples, labels[chosen], regularization=regularization)
        accuracies.append(float(np.mean(classifier.predict(queries) == truth)))
    return FewLabelResult(
        images=len(chosen),
        mean=float(np.mean(accuracies)),
        std=float(np.std(accuracies)),
        accuracies=tuple(accuracies),
    )


def draw_labelled(labels: np.ndarray, *, labels_per_class: int, seed: int, draw: int) -> np.ndarray:
    """The images that get a label: a pure function of its arguments.

    Args:
        labels: int64 `(images,)`; -1 for an image without a label.

    Returns:
        int64 indices, `labels_per_class` a class (all of a class that has fewer), class after class.
    """
    return _first_of_each_class(labels, lambda _: labels_per_class, seed=seed, draw=draw)


def draw_fraction(labels: np.ndarray, *, fraction: float, seed: int, draw: int) -> np.ndarray:
    """The same for a share of each class, in (0, 1], rounded, but one image at least."""
    return _first_of_each_class(labels, lambda size: max(1, round(fraction * size)), seed=seed, draw=draw)


def _first_of_each_class(labels: np.ndarray, count: Callable[[int], int], *, seed: int, draw: int) -> np.ndarray:
    order = np.random.default_rng([seed, draw]).permutation(len(labels))
    members = [order[labels[order] == label] for label in np.unique(labels[labels >= 0])]
    return np.concatenate([indices[: count(len(indices))] for indices in members])
