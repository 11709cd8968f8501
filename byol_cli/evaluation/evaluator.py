"""The final measurement: the trained backbone on the test set, with what it must beat beside it."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from byol_cli.data.sources import Splits, Subset
from byol_cli.evaluation.feature_cache import FeatureCache
from byol_cli.evaluation.features import extract_features, labels_of, pixel_features, without_missing
from byol_cli.evaluation.report import Scores, measure, score_table
from byol_cli.model.backbones import Backbone
from byol_cli.schema.evaluation import EvaluationConfig
from byol_cli.training.runtime import Runtime

PIXEL_LIMIT = 4096  # values an image; raw pixels are a baseline for small images only

Features = Callable[[Subset], Tensor]


@dataclass(frozen=True)
class Report:
    """Scores of the trained backbone, of the same one untrained, and of the pixels themselves where they are few."""

    trained: Scores
    untrained: Scores
    pixels: Scores | None

    def summary(self) -> dict[str, Any]:
        """For summary.json."""
        pixels = None if self.pixels is None else asdict(self.pixels)
        return {**asdict(self.trained), "untrained": asdict(self.untrained), "pixels": pixels}

    def table(self) -> str:
        """For the terminal."""
        return score_table(self.trained, self.untrained, self.pixels)


class Evaluator:
    """Measures on `splits`; `batches(subset)` gives the images of a part in order, as the backbone takes them."""

    def __init__(
        self,
        *,
        splits: Splits,
        config: EvaluationConfig,
        runtime: Runtime,
        batches: Callable[[Subset], Iterator[Tensor]],
        seed: int,
        cache: FeatureCache | None = None,
    ) -> None:
        """Nothing is read until something is measured; features are taken from `cache`, where there is one."""
        self.splits, self.config, self.runtime, self.batches, self.seed = splits, config, runtime, batches, seed
        self.cache = cache

    def report(self, trained: Backbone, *, untrained: Backbone) -> Report:
        """Every measurement of the configuration for the backbone and its baselines."""
        one_image = next(iter(self.batches(self.splits.train.take(np.arange(1)))))
        small = one_image.numel() <= PIXEL_LIMIT
        return Report(
            trained=self._scores(partial(self._features, trained)),
            untrained=self._scores(partial(self._features, untrained)),
            pixels=self._scores(lambda subset: pixel_features(self.batches(subset))) if small else None,
        )

    def _features(self, backbone: Backbone, subset: Subset) -> Tensor:
        device, dtype = self.runtime.device, self.runtime.autocast_dtype

        def extract() -> Tensor:
            return extract_features(backbone, self.batches(subset), device=device, autocast=dtype)

        return (extract() if self.cache is None else self.cache(backbone, subset, extract)).float()

    def _scores(self, features: Features) -> Scores:
        def part(subset: Subset | None) -> tuple[Tensor, Tensor] | tuple[None, None]:
            return without_missing(features(subset), labels_of(subset)) if subset else (None, None)

        splits = self.splits
        train_features, train_labels = without_missing(features(splits.train), labels_of(splits.train))
        selection_features, selection_labels = part(splits.selection)
        test_features, test_labels = part(splits.test)
        return measure(
            train_features=train_features,
            train_labels=train_labels,
            selection_features=selection_features,
            selection_labels=selection_labels,
            test_features=test_features,
            test_labels=test_labels,
            config=self.config,
            num_classes=len(splits.class_names),
            seed=self.seed,
        )
