"""How well predictions fit the truth: top-k accuracy, each class, confusion, and how sure one can be of the figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

TOP = 5  # guesses an image, where there are more classes than that
MAX_CONFUSED = 100  # classes
CONFIDENCE = 0.95
Z = 1.959964  # of the normal distribution, for it
RESAMPLES = 2000
_NUMBERS_AT_ONCE = 2**22
_DECIMALS = 3  # a thousand levels at most are to be drawn


def ranked(logits: Tensor) -> Tensor:
    """The likeliest classes first: `(images, classes)` to int64 `(images, 5)`, fewer where there are fewer classes."""
    return logits.topk(min(TOP, logits.shape[1]), dim=1).indices


def classification(guesses: Tensor, truth: Tensor, *, class_names: Sequence[str], seed: int) -> dict[str, Any]:
    """The part of a Result that guesses at the classes of images give.

    Args:
        guesses: int64 `(images, k)`, the likeliest first; top5 needs 5 of them.
        truth: int64 `(images,)`.
        class_names: of all classes.
        seed: of the bootstrap.

    Returns:
        figures (top1, and top5 where there are more than 5 classes and as many guesses), values and interval of both,
        per_class (the share of a class's images that is recognised; none for a class without images) and confusion.
    """
    hits = guesses.cpu() == truth.cpu()[:, None]
    correct = {"top1": hits[:, 0].numpy()}
    if len(class_names) > TOP <= guesses.shape[1]:
        correct["top5"] = hits.any(dim=1).numpy()
    counts = confusion_counts(guesses[:, 0].cpu().numpy(), truth.cpu().numpy(), num_classes=len(class_names))
    images, right = counts.sum(axis=1).tolist(), counts.diagonal().tolist()
    return {
        **means(correct, seed=seed),
        "per_class": {name: r / n for name, r, n in zip(class_names, right, images, strict=True) if n},
        "confusion": counts.tolist() if len(class_names) <= MAX_CONFUSED else None,
    }


def confusion_counts(predictions: np.ndarray, truth: np.ndarray, *, num_classes: int) -> np.ndarray:
    """How many images of each class (rows) are taken for each class (columns): int64 `(classes, classes)`."""
    cells = np.bincount(truth * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def means(values: Mapping[str, np.ndarray], *, seed: int) -> dict[str, Any]:
    """The part of a Result that values in [0, 1] by image and name give: figures, interval, and the values."""
    return {
        "figures": {name: float(of_images.mean()) for name, of_images in values.items()},
        "interval": {name: bootstrap_interval(of_images, seed=seed) for name, of_images in values.items()},
        "values": dict(values),
    }


def bootstrap_interval(values: np.ndarray, *, lowest: float = 0, seed: int) -> list[float]:
    """95 % percentile bootstrap interval of the mean: 2000 resamples of as many images, drawn with replacement.

    How often each distinct value comes up in a resample is multinomial, so that it is drawn at once; of 0 and 1, which
    accuracies are means of, by two numbers a resample however many images there are.

    Values that are all equal would leave no doubt, however few they are. Then a share of them that was not met, z^2 /
    (images + z^2) as in Wilson's interval, may be of whatever size: so 4 hits of 4 are an accuracy of 0.51 to 1.

    Args:
        values: `(images,)`, one or more, from `lowest` to 1: of an accuracy, whether each image is recognised.
        lowest: 0, or -1 for differences.
        seed: the same interval for the same values and seed.

    Returns:
        The low and the high end.
    """
    levels, counts = np.unique(np.asarray(values, dtype=np.float64).round(_DECIMALS), return_counts=True)
    if len(levels) == 1:
        unmet = Z**2 / (len(values) + Z**2)
        return [float(levels[0] + unmet * (end - levels[0])) for end in (lowest, 1)]
    generator = np.random.default_rng(seed)
    at_once = max(1, _NUMBERS_AT_ONCE // len(levels))
    means = np.concatenate(
        [
            generator.multinomial(len(values), counts / len(values), size=min(at_once, RESAMPLES - start)) @ levels
            for start in range(0, RESAMPLES, at_once)
        ]
    ) / len(values)
    tail = (1 - CONFIDENCE) / 2
    return [float(end) for end in np.quantile(means, [tail, 1 - tail])]


def one_guess(predictions: Tensor | np.ndarray) -> Tensor:
    """Predictions `(images,)` as guesses `(images, 1)`."""
    return torch.as_tensor(predictions)[:, None]
