"""Logistic regression by scikit-learn: the linear probe's question, answered by code of others and without SGD."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from byol_cli.evaluation.features import standardization

_MAX_ITERATIONS = 100_000  # far above what it takes: the solver ends by convergence


def logistic_regression(
    *, train: torch.Tensor, train_labels: torch.Tensor, test: torch.Tensor, regularization: float
) -> torch.Tensor:
    """Fit on standardised features of all training images, and guess at the test images.

    Args:
        train, test: features `(images, dim)`.
        train_labels: int64 `(images,)`; two classes or more.
        regularization: scikit-learn's C, the inverse strength.

    Returns:
        The likeliest classes first: int64 `(test images, 5)`, fewer where there are fewer classes.
    """
    mean, factor = standardization(train)
    inputs, queries = (((part - mean) * factor).double().cpu().numpy() for part in (train, test))
    classifier = fitted(inputs, train_labels.cpu().numpy(), regularization=regularization)
    order = np.argsort(-classifier.predict_proba(queries), axis=1, kind="stable")[:, :5]
    return torch.from_numpy(classifier.classes_[order])


def fitted(inputs: np.ndarray, labels: np.ndarray, *, regularization: float) -> LogisticRegression:
    """Multinomial regression on float64 `inputs` `(images, dim)` and int64 `labels` `(images,)`."""
    return LogisticRegression(C=regularization, max_iter=_MAX_ITERATIONS).fit(inputs, labels)
