"""Every image queries all others by cosine: recall among the k nearest, and mean average precision. Exact."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_VALUES = 2**22
"""Similarities sorted at once: they and their copies take some 100 MB."""

DECIMALS = 6
"""Of a cosine: float32 holds no more, and images that are all alike are to be equally near."""


def search_figures(
    features: Tensor, labels: Tensor, *, ks: Sequence[int], chunk_values: int = CHUNK_VALUES
) -> dict[str, float]:
    """The means of `search_values`."""
    values = search_values(features, labels, ks=ks, chunk_values=chunk_values)
    return {name: float(of_queries.mean()) for name, of_queries in values.items()}


@torch.no_grad()
def search_values(
    features: Tensor, labels: Tensor, *, ks: Sequence[int], chunk_values: int = CHUNK_VALUES
) -> dict[str, np.ndarray]:
    """`recall_at_K` for each K, and `map`, of each query; one that is the only image of its class is left out.

    Recall at K is whether an image of the query's class is among the K nearest others; of images equally near,
    those of other classes come first. The average precision of a query is the mean, over the others of its class, of
    the precision among all that are at least as near. So features that are all alike get a recall of 0
    and the precision of chance.

    Args:
        features: `(images, dim)`.
        labels: int64 `(images,)` on the same device.
        ks: each 1 or more; more than there are other images stands for all.

    Returns:
        Values in [0, 1], `(queries,)`, class after class; none where every image is the only one of its class.
    """
    bank = F.normalize(features.float(), dim=1)
    by_class = labels.argsort(stable=True).split(labels.unique(return_counts=True)[1].tolist())
    strangers, precisions = [], []
    for members in by_class:
        if len(members) == 1:
            continue
        for queries in members.split(max(1, chunk_values // len(labels))):
            nearer, precision = _ranks(bank, queries, members)
            strangers.append(nearer.cpu())
            precisions.append(precision.cpu())
    if not strangers:
        return {}
    num_nearer = torch.cat(strangers).numpy()
    return {**{f"recall_at_{k}": num_nearer < k for k in ks}, "map": torch.cat(precisions).double().numpy()}


def _ranks(bank: Tensor, queries: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """How many of other classes are at least as near as the nearest one of their own, and the average precision.

    Both `(queries,)`, of images whose class has the images `members`.
    """
    similarities = (bank[queries] @ bank.T).round_(decimals=DECIMALS)
    similarities.scatter_(1, queries[:, None], -torch.inf)  # an image does not find itself
    own = _ascending(similarities[:, members])[:, 1:].contiguous()
    among_all = _at_least_as_near(_ascending(similarities), own)
    among_own = _at_least_as_near(own, own)
    return (among_all - among_own).amin(dim=1), (among_own / among_all).mean(dim=1)


def _ascending(similarities: Tensor) -> Tensor:
    """Each row sorted; on a CPU by numpy, which takes a quarter of torch's time."""
    if similarities.device.type == "cpu":
        return torch.from_numpy(np.sort(similarities.numpy(), axis=1))
    return similarities.sort(dim=1).values


def _at_least_as_near(ascending: Tensor, similarities: Tensor) -> Tensor:
    """How many of each row of `ascending` are no smaller than each of the same row of `similarities`."""
    return ascending.shape[1] - torch.searchsorted(ascending, similarities)
