"""Linear probe on frozen features (paper section 4.1): what can a linear classifier read from them?

On cached features, hence without the paper's random crop and flip of the training images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from byol_cli.evaluation.features import standardization

_MOMENTUM = 0.9
_REFERENCE_BATCH = 256
_PREDICTION_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class LinearResult:
    """Accuracies in [0, 1].

    `learning_rate` is the base learning rate taken, `selection_top1` its accuracy on the selection split: None where
    there was no such split and the middle one was taken unseen. `test_predictions` is `(images,)`.
    """

    top1: float
    learning_rate: float
    selection_top1: float | None
    test_predictions: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class _Classifiers:
    """One linear classifier a learning rate; `weights` is `(learning rates, classes, dim + 1)`, biases last."""

    mean: torch.Tensor
    factor: torch.Tensor
    weights: torch.Tensor

    def inputs(self, features: torch.Tensor) -> torch.Tensor:
        """Standardised, with a 1 for the bias: `(images, dim)` to `(images, dim + 1)`, the only copy that is made."""
        inputs = features.new_ones(len(features), features.shape[1] + 1)
        torch.sub(features, self.mean, out=inputs[:, :-1]).mul_(self.factor)
        return inputs

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """`(batch, dim + 1)` to `(learning rates, classes, batch)`: few classes, innermost, would make softmax slow."""
        return (self.weights.flatten(0, 1) @ inputs.T).unflatten(0, self.weights.shape[:2])

    def predict(self, features: torch.Tensor) -> torch.Tensor:
        """`(images, dim)` to predicted classes `(learning rates, images)`."""
        batches = features.split(_PREDICTION_BATCH)
        return torch.cat([self.logits(self.inputs(batch)).argmax(dim=1) for batch in batches], dim=1)


@torch.no_grad()
def linear_probe(
    *,
    train: torch.Tensor,
    train_labels: torch.Tensor,
    selection: torch.Tensor | None,
    selection_labels: torch.Tensor | None,
    test: torch.Tensor,
    test_labels: torch.Tensor,
    num_classes: int,
    epochs: int,
    batch_size: int,
    learning_rates: Sequence[float],
    seed: int,
) -> LinearResult:
    """Choose the base learning rate on the selection split, train again on train and selection, test once.

    Multinomial logistic regression by SGD with Nesterov momentum 0.9, no decay, and a cosine learning rate from
    base x batch / 256 to 0. Of several base learning rates with the same best accuracy the middle one is taken; without
    a selection split (None or empty), the middle one of all.

    Args:
        train, selection, test: features `(images, dim)`, all on one device, where everything is computed.
        train_labels, selection_labels, test_labels: int64 `(images,)` in [0, num_classes).
        learning_rates: base learning rates, for standardised features (see `standardization`).
        seed: of the order of the images; the global random state is left alone.
    """

    def fit(rates: Sequence[float]) -> _Classifiers:
        return _fit(
            train,
            train_labels,
            learning_rates=rates,
            num_classes=num_classes,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
        )

    candidates, selection_top1 = sorted(learning_rates), None
    if selection is not None and selection_labels is not None and len(selection) > 0:
        correct = fit(candidates).predict(selection) == selection_labels
        accuracies = correct.double().mean(dim=1).tolist()
        selection_top1 = max(accuracies)
        candidates = [rate for rate, top1 in zip(candidates, accuracies, strict=True) if top1 == selection_top1]
        train, train_labels = torch.cat([train, selection]), torch.cat([train_labels, selection_labels])
    learning_rate = candidates[len(candidates) // 2]
    predictions = fit([learning_rate]).predict(test)[0]
    return LinearResult(
        top1=float((predictions == test_labels).double().mean()),
        learning_rate=learning_rate,
        selection_top1=selection_top1,
        test_predictions=predictions,
    )


def _fit(
    features: torch.Tensor,
    labels: torch.Tensor,
    *,
    learning_rates: Sequence[float],
    num_classes: int,
    epochs: int,
    batch_size: int,
    seed: int,
) -> _Classifiers:
    """One classifier a base learning rate, all trained at once on the same batches, as equal in size as can be."""
    images, dim = features.shape
    mean, factor = standardization(features)
    weights = features.new_zeros(len(learning_rates), num_classes, dim + 1)
    classifiers = _Classifiers(mean=mean, factor=factor, weights=weights)
    inputs = classifiers.inputs(features)
    velocity = torch.zeros_like(weights)
    steps_per_epoch = math.ceil(images / batch_size)
    peak = features.new_tensor(learning_rates)[:, None, None] * (images / steps_per_epoch / _REFERENCE_BATCH)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        order = torch.randperm(images, generator=generator).to(features.device)
        for step, rows in enumerate(order.tensor_split(steps_per_epoch)):
            progress = (epoch + step / steps_per_epoch) / epochs
            batch = inputs.index_select(0, rows)
            # The gradient of the mean cross entropy by the logits is (softmax - one-hot) / batch.
            errors = classifiers.logits(batch).softmax(dim=1) - F.one_hot(labels[rows], num_classes).T
            gradient = (errors.flatten(0, 1) @ batch).div_(len(rows)).view_as(weights)
            velocity.mul_(_MOMENTUM).add_(gradient)
            decay = (1 + math.cos(math.pi * progress)) / 2
            weights -= gradient.add_(velocity, alpha=_MOMENTUM).mul_(peak * decay)
    return classifiers
