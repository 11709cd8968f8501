"""Features of a whole data set, computed once; the measurements work on these."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from byol_cli.data.centre_crops import is_missing
from byol_cli.data.sources import Subset
from byol_cli.schema.errors import InputError, TrainingFault

# At this length the best base learning rate lies among the paper's (0.05 to 0.4), and C = 1 to 10 is near the best, for
# raw pixels and for features of trained and untrained networks alike (measured on digits and CIFAR-10).
_LENGTH = 4.0


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode, in which no buffer changes; afterwards each of its modules is back in the mode it was in."""
    was_training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training


@torch.no_grad()
def extract_features(
    backbone: nn.Module,
    batches: Iterable[torch.Tensor],
    *,
    device: torch.device | str,
    autocast: torch.dtype | None,
) -> torch.Tensor:
    """The backbone's features of all images, in their order.

    The backbone runs in evaluation mode, so its buffers stay as they are; afterwards each of its modules is back in the
    mode it was in.

    Args:
        backbone: on `device`; maps `(batch, channels, height, width)` to `(batch, dim)`.
        batches: image batches on any device; their memory format is kept.
        autocast: the type of mixed precision, None for the backbone's own.

    Returns:
        `(images, dim)` on the CPU, in the type that the backbone gave: under bf16, half the bytes of float32. The row
        of an image that could not be read is NaN; the backbone sees zeros in its place.

    Raises:
        TrainingFault: features of an image that could be read are not finite.
    """
    device = torch.device(device)
    with evaluating(backbone), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        return torch.cat([_features_of(backbone, images.to(device, non_blocking=True)) for images in batches])


def _features_of(backbone: nn.Module, images: torch.Tensor) -> torch.Tensor:
    missing = is_missing(images)
    if missing.any():
        images = images.clone()
        images[missing] = 0
    features = backbone(images)
    if not (features.isfinite().all(dim=1) | missing).all():
        raise TrainingFault(
            "the backbone's features are not finite: its weights have diverged, or the precision is too narrow for them"
        )
    return (features.masked_fill(missing[:, None], torch.nan) if missing.any() else features).cpu()


def without_missing(features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The features and labels of the images that could be read.

    Args:
        features: `(images, dim)`, NaN in the rows of those that could not.
        labels: int64 `(images,)`.

    Raises:
        InputError: there were images, and none of them could be read.
    """
    missing = missing_rows(features)
    if len(features) and missing.all():
        raise InputError(f"none of the {len(features):,} images to be measured on can be read")
    return (features[~missing], labels[~missing]) if missing.any() else (features, labels)


def missing_rows(features: torch.Tensor) -> torch.Tensor:
    """Which rows of `(images, dim)` are of images that could not be read: bool `(images,)`."""
    return features[:, 0].isnan()


def labels_of(subset: Subset) -> torch.Tensor:
    """int64 `(images,)`, -1 for an image without a label."""
    labels = subset.labels
    return torch.full((len(subset),), -1) if labels is None else torch.from_numpy(labels)


def pixel_features(batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """The images themselves as features: float32 `(images, channels * height * width)` on the CPU.

    The row of an image that could not be read is NaN.
    """
    return torch.cat([images.flatten(start_dim=1).float().cpu() for images in batches])


def standardization(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and the factor that give `(features - mean) * factor` mean 0 and root mean squared length 4.

    A linear classifier can undo both, so neither changes what it can express. But with them one learning rate and one
    regularization mean the same for every backbone and for raw pixels, whatever their scale and number of dimensions.
    The factor is one for all dimensions: a standard deviation each would blow up those that hardly vary (the margin of
    an image) and drop the proportions that training gave the features.

    Args:
        features: `(images, dim)`.

    Returns:
        mean `(dim,)` and factor `()`, finite for constant features too.
    """
    variance, mean = torch.var_mean(features, dim=0, correction=0)
    return mean, _LENGTH * variance.sum().clamp_min(torch.finfo(variance.dtype).tiny).rsqrt()
