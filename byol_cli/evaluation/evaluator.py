"""The final measurement: the trained backbone on the test set, with what it must beat beside it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from byol_cli.data.evenly_spaced import evenly_spaced
from byol_cli.data.sources import Splits, Subset
from byol_cli.evaluation.classifier import Reading
from byol_cli.evaluation.differences import compared
from byol_cli.evaluation.feature_cache import FeatureCache
from byol_cli.evaluation.features import extract_features, pixel_features
from byol_cli.evaluation.finetune import finetune_results
from byol_cli.evaluation.frozen import FROZEN, Augmented, measure
from byol_cli.evaluation.label_free import PAIR_IMAGES
from byol_cli.evaluation.linear_augmented import CroppedImages, augmented_linear_probe
from byol_cli.evaluation.looks import ViewPairs
from byol_cli.evaluation.report import Report
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.retrieval import plan_retrieval, retrieval_results
from byol_cli.evaluation.shared_features import SharedFeatures
from byol_cli.evaluation.supervised import supervised_results
from byol_cli.evaluation.task import Task, has_classes, measured_part, task_of
from byol_cli.model.backbones import Backbone
from byol_cli.schema.evaluation import EvaluationConfig
from byol_cli.training.ranks import world_size
from byol_cli.training.runtime import Runtime

PIXEL_LIMIT = 4096  # values an image; raw pixels are a baseline for small images only


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: a backbone on the device, another one of random weights, and how more of these are made.

    `epochs` is for how many the backbone was pre-trained, one at least.
    """

    trained: Backbone
    untrained: Backbone
    make_backbone: Callable[[], Backbone]
    epochs: int


class Evaluator:
    """Measures on `splits`."""

    def __init__(
        self,
        *,
        splits: Splits,
        config: EvaluationConfig,
        runtime: Runtime,
        reading: Reading,
        pairs: ViewPairs,
        seed: int,
        say: Callable[[str], None],
        unseen: bool = False,
        cache: FeatureCache | SharedFeatures | None = None,
    ) -> None:
        """Nothing is read until something is measured.

        Args:
            splits: training images, the selection split and the test set.
            config: what is measured.
            runtime: device and precision.
            reading: how images come to the device.
            pairs: two views of each image.
            seed: of batches, crops and bootstrap.
            say: is told in one line what a trained network reached.
            unseen: whether the backbone was trained on none of these images.
            cache: features are taken from it, where there is one.

        Raises:
            InputError: what is asked for needs labels, or images that are held out, and there are none. Without any
                labels accuracies of frozen features are left out.
        """
        self.splits, self.config, self.runtime, self.reading, self.pairs = splits, config, runtime, reading, pairs
        self.seed, self.say, self.cache = seed, say, cache
        tuned = [name for name in ("finetune", "supervised") if getattr(config, name) is not None]
        frozen = [name for name in FROZEN if getattr(config, name) is not None]
        self.task: Task | None = None
        for name in tuned if not has_classes(splits) else [*tuned, *frozen]:
            self.task = task_of(splits, measure=name)
        self.retrieval = None
        if config.retrieval is not None:
            self.retrieval = plan_retrieval(config.retrieval, splits, unseen=unseen)
            if self.retrieval.searched:
                images = sum(map(len, self.retrieval.searched))
                say(f"retrieval:     among {images:,} images ({self.retrieval.measured_on})")

    def look_together(self, subject: Subject) -> None:
        """Where there are several processes, each extracts features of its share of the images, for the first's report.

        All of them call this with the same `subject`.
        """
        if world_size() == 1:
            return
        self.cache = SharedFeatures(batches=self.reading.centres, runtime=self.runtime)
        for backbone in (subject.trained, subject.untrained):
            for subset in (self.splits.train, self.splits.selection, self.splits.test):
                if subset:
                    self.cache.extract(backbone, subset)

    def report(self, subject: Subject, *, record: Callable[[Result], None]) -> Report:
        """Every measurement of the configuration for the backbone and its baselines; `record` gets each at once."""
        results: list[Result] = []
        for result in self._results(subject):
            trained = result.representation == "trained"
            results.append(compared(result, results, seed=self.seed) if trained else result)
            record(results[-1])
        measured_on = measured_part(self.splits)[0] if has_classes(self.splits) else None
        return Report(results=tuple(results), measured_on=measured_on)

    def _results(self, subject: Subject) -> Iterator[Result]:
        """Those of the baselines before the trained backbone's, which are compared with them."""
        backbones: dict[str, Backbone | None] = {"untrained": subject.untrained}
        one_image = next(iter(self.reading.centres(self.splits.train.take(np.arange(1)))))
        if one_image.numel() <= PIXEL_LIMIT:
            backbones["pixels"] = None
        backbones["trained"] = subject.trained
        for name, backbone in backbones.items():
            yield from self._frozen(name, backbone)
        shared: dict[str, Any] = {
            "splits": self.splits,
            "make_backbone": subject.make_backbone,
            "reading": self.reading,
            "runtime": self.runtime,
            "seed": self.seed,
            "log": self.say,
        }
        if self.config.retrieval is not None and self.retrieval is not None:
            yield from retrieval_results(
                self.config.retrieval,
                plan=self.retrieval,
                features={name: partial(self.features, backbone) for name, backbone in backbones.items()},
                device=self.runtime.device,
                seed=self.seed,
            )
        if self.config.finetune is not None:
            yield from finetune_results(self.config.finetune, trained=subject.trained, **shared)
        if self.config.supervised is not None:
            yield from supervised_results(self.config.supervised, pretraining_epochs=subject.epochs, **shared)

    def _frozen(self, representation: str, backbone: Backbone | None) -> Iterator[Result]:
        """Of the pixels themselves where `backbone` is None."""
        return measure(
            representation=representation,
            task=self.task,
            train=self.splits.train if self.task is None else self.task.train,
            features=partial(self.features, backbone),
            pairs=self._pairs(backbone),
            augmented=None if self.task is None else self._augmented(self.task, backbone),
            config=self.config,
            seed=self.seed,
        )

    def features(self, backbone: Backbone | None, subset: Subset) -> Tensor:
        """Of the centres of a part's images, `(images, dim)`, NaN where one cannot be read; None: the pixels."""
        if backbone is None:
            return pixel_features(self.reading.centres(subset))
        return self._kept(backbone, subset, lambda: self._extract(backbone, self.reading.centres(subset)))

    def _pairs(self, backbone: Backbone | None) -> Tensor:
        """Features of two views each of some training images: `(images, 2, dim)`."""
        train = self.splits.train
        subset = train.take(evenly_spaced(len(train), at_most=PAIR_IMAGES))
        alternating = (torch.stack(views, dim=1).flatten(0, 1) for views in self.pairs.batches(subset))
        if backbone is None:
            features = pixel_features(alternating)
        else:
            features = self._kept(backbone, subset, lambda: self._extract(backbone, alternating), what=self.pairs.facts)
        return features.unflatten(0, (-1, 2))

    def _extract(self, backbone: Backbone, batches: Iterable[Tensor]) -> Tensor:
        device, dtype = self.runtime.device, self.runtime.autocast_dtype
        return extract_features(backbone, batches, device=device, autocast=dtype)

    def _kept(self, backbone: Backbone, subset: Subset, extract: Callable[[], Tensor], *, what: str = "") -> Tensor:
        return (extract() if self.cache is None else self.cache(backbone, subset, extract, what=what)).float()

    def _augmented(self, task: Task, backbone: Backbone | None) -> Augmented:
        images = CroppedImages(
            backbone=nn.Flatten() if backbone is None else backbone,
            train=task.train,
            selection=task.chooser,
            reading=self.reading,
            runtime=self.runtime,
        )
        return Augmented(probe=partial(augmented_linear_probe, images), settings=self.reading.crop_settings)
