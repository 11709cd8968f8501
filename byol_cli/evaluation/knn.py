"""Weighted k-nearest-neighbour vote by cosine similarity (Wu et al. 2018, section 3.4): nothing is trained."""

import torch
import torch.nn.functional as F

CHUNK = 512  # queries compared with the bank at once: their similarities take no more than a bank of 512 dimensions


@torch.no_grad()
def knn_predict(
    *,
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    neighbors: int,
    temperature: float,
    num_classes: int,
    chunk: int,
) -> torch.Tensor:
    """The class that gets the most of the votes of the nearest bank images, each of weight exp(cosine / temperature).

    The search is exact; of bank images that are equally near, where not all of them can vote, any may.

    Args:
        bank: features `(bank images, dim)`.
        bank_labels: int64 `(bank images,)` in [0, num_classes).
        queries: features `(images, dim)`, on the bank's device.
        neighbors: how many bank images vote; all of them where the bank is smaller.
        chunk: queries at a time; the memory taken is that of `(chunk, bank images)` floats.

    Returns:
        int64 `(images,)`.
    """
    bank = F.normalize(bank, dim=1)
    neighbors = min(neighbors, len(bank))
    # One block for all: giving so much memory back and asking for it again takes longer than finding the nearest.
    block = bank.new_empty(min(chunk, len(queries)), len(bank))
    predictions = []
    for batch in F.normalize(queries, dim=1).split(chunk):
        similarities, nearest = torch.mm(batch, bank.T, out=block[: len(batch)]).topk(neighbors, dim=1)
        # Softmax is exp(similarity / temperature) over a constant of the query: the same vote, and it cannot overflow.
        weights = (similarities / temperature).softmax(dim=1)
        votes = weights.new_zeros(len(batch), num_classes).scatter_add_(1, bank_labels[nearest], weights)
        predictions.append(votes.argmax(dim=1))
    return torch.cat(predictions)


def knn_accuracy(
    *,
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    neighbors: int,
    temperature: float,
    num_classes: int,
    chunk: int,
) -> float:
    """The share of queries, in [0, 1], that `knn_predict` gives their own label `query_labels`, int64 `(images,)`."""
    predictions = knn_predict(
        bank=bank,
        bank_labels=bank_labels,
        queries=queries,
        neighbors=neighbors,
        temperature=temperature,
        num_classes=num_classes,
        chunk=chunk,
    )
    return float((predictions == query_labels).double().mean())
