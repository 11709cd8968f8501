"""How far does a handful of labels a class go? Logistic regression on them, tested on the whole test set.

The case that self-supervision is for (the paper's semi-supervised training, section 4.2, here on frozen features). With
so few, it matters much which images get a label: hence the mean over many draws.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from byol_cli.evaluation.features import standardization

# Far above the few hundred iterations that it takes: the solver ends by convergence.
_MAX_ITERATIONS = 100_000


@dataclass(frozen=True, kw_only=True)
class FewLabelResult:
    """Accuracies in [0, 1], one a draw, their mean and standard deviation."""

    mean: float
    std: float
    accuracies: tuple[float, ...]


def few_label_accuracy(
    *,
    train: torch.Tensor,
    train_labels: torch.Tensor,
    test: torch.Tensor,
    test_labels: torch.Tensor,
    labels_per_class: int,
    draws: int,
    regularization: float,
    seed: int,
) -> FewLabelResult:
    """Fit on `labels_per_class` random labelled images a class, `draws` times, each tested on all test images.

    The features are standardised by all the training images, which takes no label.

    Args:
        train: features `(images, dim)`.
        train_labels: int64 `(images,)`; -1 for an image without a label. Two classes or more.
        test: features `(images, dim)`.
        test_labels: int64 `(images,)`.
        labels_per_class: a class with fewer labelled images gives all it has.
        regularization: scikit-learn's C, the inverse strength, on standardised features.
        seed: of the draws.
    """
    mean, factor = standardization(train)
    labels, truth = train_labels.cpu().numpy(), test_labels.cpu().numpy()
    queries = ((test - mean) * factor).cpu().numpy()
    accuracies = []
    for draw in range(draws):
        chosen = draw_labelled(labels, labels_per_class=labels_per_class, seed=seed, draw=draw)
        examples = ((train[torch.from_numpy(chosen)] - mean) * factor).double().cpu().numpy()
        classifier = LogisticRegression(C=regularization, max_iter=_MAX_ITERATIONS).fit(examples, labels[chosen])
        accuracies.append(float(np.mean(classifier.predict(queries) == truth)))
    return FewLabelResult(mean=float(np.mean(accuracies)), std=float(np.std(accuracies)), accuracies=tuple(accuracies))


def draw_labelled(labels: np.ndarray, *, labels_per_class: int, seed: int, draw: int) -> np.ndarray:
    """The images that get a label: a pure function of its arguments.

    Args:
        labels: int64 `(images,)`; -1 for an image without a label.

    Returns:
        int64 indices, `labels_per_class` a class (all of a class that has fewer), class after class.
    """
    generator = np.random.default_rng([seed, draw])
    order = generator.permutation(len(labels))
    classes = np.unique(labels[labels >= 0])
    return np.concatenate([order[labels[order] == label][:labels_per_class] for label in classes])
