"""Alignment and uniformity of features on the unit sphere (Wang and Isola 2020): measures that need no labels."""

import math

import torch
import torch.nn.functional as F

_CHUNK = 1024


def alignment(view1_features: torch.Tensor, view2_features: torch.Tensor) -> float:
    """The mean squared distance of two views of the same image, in [0, 4]; 0 where the views cannot be told apart.

    Wang and Isola's equation 4 with alpha = 2. It is 0 for collapsed features too: read it beside `uniformity`.

    Args:
        view1_features, view2_features: `(images, dim)`, row by row of the same image.
    """
    difference = F.normalize(view1_features.double(), dim=1) - F.normalize(view2_features.double(), dim=1)
    return float(difference.square().sum(dim=1).mean())


def uniformity(features: torch.Tensor, t: float = 2) -> float:
    """The log of the mean of exp(-t squared distance) over all pairs of different images, in [-4t, 0].

    Wang and Isola's equation 5, with their t = 2: 0 where all features point the same way, lower the more evenly they
    fill the sphere (about -2t in many dimensions).

    Args:
        features: `(images, dim)`, two images or more; pairs are taken in chunks, so that memory stays bounded.
    """
    directions = F.normalize(features.double(), dim=1)
    images = len(directions)
    # Of unit vectors, the squared distance is 2 - 2 cosine. The sum holds each pair twice and each image with itself.
    total = sum(float((2 * t * (chunk @ directions.T - 1)).exp().sum()) for chunk in directions.split(_CHUNK))
    return math.log((total - images) / (images * (images - 1)))
