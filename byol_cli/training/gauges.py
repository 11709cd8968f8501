"""Gauges of collapse: is the network still telling images apart? Each is a pure function of `(batch, dim)` features.

BYOL has a trivial solution, the same vector for every image, at which its loss is 0: the loss alone cannot show it.
"""

import math

import torch
import torch.nn.functional as F

# Singular values below this share of the features' Frobenius norm are the rounding noise of float32.
_ROUNDING = 1e-6


def effective_rank(features: torch.Tensor) -> float:
    """The share of the available dimensions that the features spread over, in [0, 1].

    The exponential of the entropy of the normalised singular values (RankMe, Garrido et al. 2023, equation 1), divided
    by `min(batch - 1, dim)`. Unlike RankMe the features are centred first: what all images have in common tells none
    apart. 0 where all features are equal (a batch of one included), 1 where they are isotropic, NaN where one is not
    finite.

    Args:
        features: `(batch, dim)`, any float type; computed in float64.
    """
    features = features.detach().double()
    if not features.isfinite().all():
        return math.nan
    images, dim = features.shape
    centred = features - features.mean(dim=0)
    gram = centred @ centred.T if images < dim else centred.T @ centred
    singular_values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    singular_values = singular_values[singular_values > _ROUNDING * features.norm()]
    if len(singular_values) == 0:
        return 0.0
    shares = singular_values / singular_values.sum()
    return float(torch.special.entr(shares).sum().exp()) / min(images - 1, dim)


def mean_cosine(features: torch.Tensor) -> float:
    """The mean cosine of the features of two different images, in [-1, 1]; 1 where all point the same way.

    Args:
        features: `(batch, dim)`, a batch of two or more.
    """
    directions = F.normalize(features.detach().double(), dim=1)
    images = len(directions)
    with_themselves = directions.square().sum()
    return float((directions.sum(dim=0).square().sum() - with_themselves) / (images * (images - 1)))


def feature_std(features: torch.Tensor) -> float:
    """The standard deviation of the l2-normalised features over the batch, mean over dimensions, times sqrt(dim).

    0 where all point the same way, about 1 where they are isotropic (Chen and He 2021, section 4.1).

    Args:
        features: `(batch, dim)`.
    """
    directions = F.normalize(features.detach().double(), dim=1)
    return float(directions.std(dim=0, correction=0).mean()) * features.shape[1] ** 0.5
