"""What can be said of features without any label: how far they spread, and whether views of an image stay together."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from byol_cli.training.gauges import effective_rank

RANK_IMAGES = 2048
PAIR_IMAGES = 512
_EPSILON = 1e-7


def label_free_figures(features: Tensor, pairs: Tensor | None) -> dict[str, float]:
    """effective_rank, rankme and, where there are pairs, alignment and uniformity.

    Args:
        features: `(images, dim)`, of which at most 2048, evenly spread, are taken for the ranks.
        pairs: `(images, 2, dim)`, features of two views of each image.
    """
    sample = features[:: math.ceil(len(features) / RANK_IMAGES)]
    figures = {"effective_rank": effective_rank(sample), "rankme": rankme(sample)}
    if pairs is not None and len(pairs) > 1:
        figures |= {"alignment": alignment(pairs), "uniformity": uniformity(pairs)}
    return figures


def rankme(features: Tensor) -> float:
    """RankMe (Garrido et al. 2023, equation 1): the exponential of the entropy of the singular values, not centred.

    From 1 to `min(images, dim)`.

    Args:
        features: `(images, dim)`; computed in float64.
    """
    singular_values = torch.linalg.svdvals(features.double())
    shares = singular_values / singular_values.sum().clamp_min(torch.finfo(torch.float64).tiny) + _EPSILON
    return float(torch.special.entr(shares).sum().exp())


def alignment(pairs: Tensor) -> float:
    """The mean squared distance of the l2-normalised features of two views of an image (Wang and Isola 2020).

    From 0, the views are told to be the same, to 4. Half of it is one minus their mean cosine.

    Args:
        pairs: `(images, 2, dim)`.
    """
    directions = F.normalize(pairs.double(), dim=2)
    return float((directions[:, 0] - directions[:, 1]).square().sum(dim=1).mean())


def uniformity(pairs: Tensor) -> float:
    """The log of the mean of exp(-2 distance^2) over all pairs of different images (Wang and Isola 2020, t = 2).

    From -8 to 0, where all are the same; the lower, the more evenly they are spread. Mean of first and second views.

    Args:
        pairs: `(images, 2, dim)`, two images or more.
    """
    directions = F.normalize(pairs.double(), dim=2)
    values = [(-2 * F.pdist(view).square()).logsumexp(dim=0) for view in directions.unbind(dim=1)]
    num_pairs = len(pairs) * (len(pairs) - 1) / 2
    return float(torch.stack(values).mean()) - math.log(num_pairs)
