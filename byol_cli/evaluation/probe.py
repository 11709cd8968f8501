"""The online probe: how good the features are while training goes on, by the selection split alone."""

from collections.abc import Callable, Iterator

from torch import Tensor

from byol_cli.data.evenly_spaced import evenly_spaced
from byol_cli.data.sources import Splits, Subset
from byol_cli.evaluation.features import labels_of, without_missing
from byol_cli.evaluation.knn import CHUNK, knn_accuracy
from byol_cli.evaluation.shared_features import features_of_all
from byol_cli.model.backbones import Backbone
from byol_cli.training.gauges import effective_rank
from byol_cli.training.ranks import from_first
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
        if not self.bank.has_labels or not self.queries.has_labels or not len(self.queries):
            sample = self.queries if len(self.queries) > 1 else self.bank
            features, _ = self._features(backbone, sample)
            return from_first(lambda: {"effective_rank": effective_rank(features)})
        bank, bank_labels = self._features(backbone, self.bank)
        queries, query_labels = self._features(backbone, self.queries)
        return from_first(
            lambda: {
                "knn_top1": knn_accuracy(
                    bank=bank,
                    bank_labels=bank_labels,
                    queries=queries,
                    query_labels=query_labels,
                    neighbors=self.neighbors,
                    temperature=self.temperature,
                    num_classes=self.num_classes,
                    chunk=CHUNK,
                )
            }
        )

    def _features(self, backbone: Backbone, subset: Subset) -> tuple[Tensor, Tensor]:
        """Features and labels (-1 where there are none) of the images that can be read."""
        features = features_of_all(backbone, subset, batches=self.batches, runtime=self.runtime).float()
        return without_missing(features, labels_of(subset))
