"""Linear probe on frozen features (paper section 4.1): what can a linear classifier read from them?

Cached: on features that are computed once, hence without random crop and flip of the training images. Augmented, as the
paper has it: see `linear_augmented`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from byol_cli.evaluation.features import standardization
from byol_cli.evaluation.scoring import ranked

MOMENTUM = 0.9
REFERENCE_BATCH = 256
_PREDICTION_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class LinearResult:
    """What the probe makes of the test images.

    `learning_rate` is the base learning rate taken, `selection_top1` its accuracy in [0, 1] on the selection split:
    None where there was no such split and the middle one was taken unseen. `test_ranked` are the likeliest classes
    first, int64 `(images, 5)`, fewer where there are fewer classes.
    """

    learning_rate: float
    selection_top1: float | None
    test_ranked: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Training:
    """What classifiers are trained on: `(features, labels)` a step, `(images, dim)` and int64 `(images,)`.

    Features are as the backbone gives them, or inputs that `Classifiers.inputs` made, where `prepared`. There are
    `total_steps` batches of `images_a_step` images on average.
    """

    batches: Iterable[tuple[torch.Tensor, torch.Tensor]]
    total_steps: int
    images_a_step: float
    prepared: bool


@dataclass(frozen=True, kw_only=True)
class Classifiers:
    """One linear classifier a learning rate; `weights` is `(learning rates, classes, dim + 1)`, biases last."""

    mean: torch.Tensor
    factor: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def untrained(cls, features: torch.Tensor, *, num_rates: int, num_classes: int) -> "Classifiers":
        """All zero, for features standardised as `features` are, `(images, dim)`; on their device."""
        mean, factor = standardization(features)
        weights = features.new_zeros(num_rates, num_classes, features.shape[1] + 1)
        return cls(mean=mean, factor=factor, weights=weights)

    def to(self, device: torch.device) -> "Classifiers":
        """The same on `device`."""
        return Classifiers(mean=self.mean.to(device), factor=self.factor.to(device), weights=self.weights.to(device))

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

    def ranked(self, features: torch.Tensor) -> torch.Tensor:
        """`(images, dim)` to the likeliest classes of the first classifier, `(images, 5)` or fewer."""
        batches = features.split(_PREDICTION_BATCH)
        return torch.cat([ranked(self.logits(self.inputs(batch))[0].T) for batch in batches])

    def train(self, training: Training, learning_rates: Sequence[float]) -> None:
        """SGD from the weights as they are, in place: cross entropy, Nesterov momentum, cosine from base x batch / 256.

        One classifier a base learning rate, all at once on the same batches.
        """
        weights, num_classes = self.weights, self.weights.shape[1]
        velocity = torch.zeros_like(weights)
        peak = weights.new_tensor(learning_rates)[:, None, None] * (training.images_a_step / REFERENCE_BATCH)
        for step, (features, labels) in enumerate(training.batches):
            batch = features if training.prepared else self.inputs(features)
            # The gradient of the mean cross entropy by the logits is (softmax - one-hot) / batch.
            errors = self.logits(batch).softmax(dim=1) - F.one_hot(labels, num_classes).T
            gradient = (errors.flatten(0, 1) @ batch).div_(len(batch)).view_as(weights)
            velocity.mul_(MOMENTUM).add_(gradient)
            decay = (1 + math.cos(math.pi * step / training.total_steps)) / 2
            weights -= gradient.add_(velocity, alpha=MOMENTUM).mul_(peak * decay)


Fit = Callable[[Sequence[float], bool], Classifiers]
"""Trained classifiers of these base learning rates, on the training images or, if true, those of selection as well."""


@torch.no_grad()
def linear_probe(
    *,
    train: torch.Tensor,
    train_labels: torch.Tensor,
    selection: torch.Tensor | None,
    selection_labels: torch.Tensor | None,
    test: torch.Tensor,
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
        train_labels, selection_labels: int64 `(images,)` in [0, num_classes).
        learning_rates: base learning rates, for standardised features (see `standardization`).
        seed: of the order of the images; the global random state is left alone.
    """

    def fit(rates: Sequence[float], with_selection: bool) -> Classifiers:
        features, labels = train, train_labels
        if with_selection and selection is not None and selection_labels is not None:
            features, labels = torch.cat([train, selection]), torch.cat([train_labels, selection_labels])
        classifiers = Classifiers.untrained(features, num_rates=len(rates), num_classes=num_classes)
        training = _cached(classifiers.inputs(features), labels, epochs=epochs, batch_size=batch_size, seed=seed)
        classifiers.train(training, rates)
        return classifiers

    return choose_and_test(
        fit,
        learning_rates=learning_rates,
        selection=selection,
        selection_labels=selection_labels,
        test=test,
    )


def choose_and_test(
    fit: Fit,
    *,
    learning_rates: Sequence[float],
    selection: torch.Tensor | None,
    selection_labels: torch.Tensor | None,
    test: torch.Tensor,
) -> LinearResult:
    """The protocol of `linear_probe`, whatever the classifiers are trained on."""
    candidates, selection_top1 = sorted(learning_rates), None
    with_selection = False
    if selection is not None and selection_labels is not None and len(selection) > 0:
        with_selection = True
        correct = fit(candidates, False).predict(selection) == selection_labels
        accuracies = correct.double().mean(dim=1).tolist()
        selection_top1 = max(accuracies)
        candidates = [rate for rate, top1 in zip(candidates, accuracies, strict=True) if top1 == selection_top1]
    learning_rate = candidates[len(candidates) // 2]
    classifiers = fit([learning_rate], with_selection)
    return LinearResult(
        learning_rate=learning_rate, selection_top1=selection_top1, test_ranked=classifiers.ranked(test)
    )


def _cached(inputs: torch.Tensor, labels: torch.Tensor, *, epochs: int, batch_size: int, seed: int) -> Training:
    """Batches as equal in size as can be, in another order each epoch."""
    images = len(inputs)
    steps_per_epoch = math.ceil(images / batch_size)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(images, generator=generator).to(inputs.device)
            for rows in order.tensor_split(steps_per_epoch):
                yield inputs.index_select(0, rows), labels[rows]

    return Training(
        batches=batches(),
        total_steps=epochs * steps_per_epoch,
        images_a_step=images / steps_per_epoch,
        prepared=True,
    )
