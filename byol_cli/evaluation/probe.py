"""The online probe: how good the features are while training goes on, by the selection split alone."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from byol_cli.data.images import evenly_spaced
from byol_cli.data.sources import Splits, Subset
from byol_cli.evaluation.features import extract_features
from byol_cli.evaluation.knn import CHUNK, knn_accuracy
from byol_cli.model.backbones import Backbone
from byol_cli.training.gauges import effective_rank
from byol_cli.training.runtime import Runtime


class OnlineProbe:
    """k-NN accuracy on the selection split; where that is empty or has no labels, the features' effective rank."""

    def __init__(
        self,
        *,
        splits: Splits,
        batches: Callable[[Subset], Iterator[Tensor]],
        runtime: Runtime,
        max_images: int,
        neighbors: int,
        temperature: float,
    ) -> None:
        """`batches(subset)` gives a part's images in order; `max_images` training images at most are compared with."""
        self.num_classes = len(splits.class_names)
        self.batches, self.runtime = batches, runtime
        self.neighbors, self.temperature = neighbors, temperature
        train, self.queries = splits.train.labelled(), splits.selection.labelled()
        self.bank = train.take(evenly_spaced(len(train), at_most=max_images))

    def __call__(self, backbone: Backbone) -> dict[str, float]:
        """The measurement by its name."""
        bank_labels, query_labels = self.bank.labels, self.queries.labels
        if bank_labels is None or query_labels is None or not len(query_labels):
            sample = self.queries if len(self.queries) > 1 else self.bank
            return {"effective_rank": effective_rank(self._features(backbone, sample))}
        accuracy = knn_accuracy(
            bank=self._features(backbone, self.bank),
            bank_labels=torch.from_numpy(bank_labels),
            queries=self._features(backbone, self.queries),
            query_labels=torch.from_numpy(query_labels),
            neighbors=self.neighbors,
            temperature=self.temperature,
            num_classes=self.num_classes,
            chunk=CHUNK,
        )
        return {"knn_top1": accuracy}

    def _features(self, backbone: Backbone, subset: Subset) -> Tensor:
        dtype = self.runtime.autocast_dtype
        return extract_features(backbone, self.batches(subset), device=self.runtime.device, autocast=dtype).float()
