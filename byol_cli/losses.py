"""How an online prediction is compared with the target's projection of the other view.

Every loss takes `prediction` and `target`, both (batch, dim), and returns a scalar. It is computed in float32 (float64
stays float64) whatever the autocast type, and sends no gradient to the target.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def regression_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean over the batch of 2 - 2 cos(prediction, target), in [0, 4] (paper eq. 2)."""
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target = _full_precision(prediction), _full_precision(target.detach())
        cosines = (F.normalize(prediction, dim=1) * F.normalize(target, dim=1)).sum(dim=1)
        return (2 - 2 * cosines).mean()


def article_consistency_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """The tutorial article's pairwise softmax: -(1/N) sum_ij log(exp(s_ij) / (exp(s_ij) + exp(s'_ij))).

    `s_ij = <prediction_i, target_j>`; `s'_ij` is the same with the target's batch rolled by one: another sample's
    features. Features are not normalised. Equal features give log 2 a pair, which is its minimum (for each i the
    differences s_ij - s'_ij sum to 0), and as every i meets every j, no prediction belongs to one target.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target = _full_precision(prediction), _full_precision(target.detach())
        scores = prediction @ target.T
        rolled_scores = scores.roll(1, dims=1)
        return -F.logsigmoid(scores - rolled_scores).sum() / len(prediction)


def symmetric_loss(loss: Loss, predictions: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
    """Each view's prediction against the target's projection of the other view; the sum, not halved (paper eq. 2)."""
    return loss(predictions[0], targets[1]) + loss(predictions[1], targets[0])


def _full_precision(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))


LOSSES: dict[str, Loss] = {
    "byol": regression_loss,
    "article_consistency": article_consistency_loss,
}
