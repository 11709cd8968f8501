"""Features of a whole data set, computed once; the measurements work on these."""

from collections.abc import Iterable

import torch
from torch import nn

# At this length the best base learning rate lies among the paper's (0.05 to 0.4), and C = 1 to 10 is near the best, for
# raw pixels and for features of trained and untrained networks alike (measured on digits and CIFAR-10).
_LENGTH = 4.0


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
        `(images, dim)` on the CPU, in the type that the backbone gave: under bf16, half the bytes of float32.
    """
    device = torch.device(device)
    was_training = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            return torch.cat([backbone(images.to(device, non_blocking=True)).cpu() for images in batches])
    finally:
        for module, training in was_training.items():
            module.training = training


def pixel_features(batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """The images themselves as features: float32 `(images, channels * height * width)` on the CPU."""
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
