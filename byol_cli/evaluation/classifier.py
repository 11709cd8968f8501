"""A network trained with labels: backbone and linear head, by SGD. Shared by finetune and supervised."""

import copy
import math
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from byol_cli.data.centre_crops import is_missing
from byol_cli.data.evenly_spaced import evenly_spaced
from byol_cli.data.sampler import MicroBatch
from byol_cli.data.sources import Subset
from byol_cli.data.training_crops import Crops
from byol_cli.evaluation.features import extract_features, labels_of, standardization, without_missing
from byol_cli.evaluation.linear import MOMENTUM, REFERENCE_BATCH
from byol_cli.model.backbones import Backbone
from byol_cli.optim.parameter_groups import parameter_groups
from byol_cli.optim.schedules import learning_rate
from byol_cli.schema.errors import InputError
from byol_cli.schema.finetune import ClassifierConfig
from byol_cli.training.runtime import Runtime
from byol_cli.views.counter import epoch_order

STANDARDIZED_BY = 2048  # images at most


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images come to the device.

    Attributes:
        crops: `(part, batches)` to what a network is trained on: `training_crops` with all else given.
        centres: `part` to the images it is measured on, in order, NaN where one cannot be read: `evaluation_batches`
            with all else given.
        crop_settings: how crops are taken, as plain values.
    """

    crops: Callable[[Subset, Iterable[MicroBatch]], Generator[Crops, None, None]]
    centres: Callable[[Subset], Iterable[Tensor]]
    crop_settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a network begins with.

    Attributes:
        name: trained or scratch.
        make_backbone: a new backbone each time, which is then changed; random weights are from torch's generator.
        head_factor: the head's learning rate is so many times the backbone's.
    """

    name: Literal["trained", "scratch"]
    make_backbone: Callable[[], Backbone]
    head_factor: float


def from_trained(backbone: Backbone, *, head_factor: float) -> Start:
    """Copies of `backbone`, which itself stays as it is."""
    return Start(name="trained", make_backbone=lambda: copy.deepcopy(backbone), head_factor=head_factor)


def from_scratch(make_backbone: Callable[[], Backbone]) -> Start:
    """An ordinary network, whose head is trained like the rest of it."""
    return Start(name="scratch", make_backbone=make_backbone, head_factor=1.0)


class Classifier(nn.Module):
    """A backbone and a linear head, which starts at zero: no class is preferred.

    The head sees features less `mean`, times `factor`. Of a pre-trained backbone these standardise them as they are
    before training, so that one learning rate of the head means the same for every backbone, as in the linear probe.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, backbone: Backbone, *, mean: Tensor, factor: Tensor, num_classes: int) -> None:
        """`mean` `(dim,)` and `factor` `()`, which stay, are on the backbone's device, and so is the head."""
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)
        self.head = nn.utils.skip_init(nn.Linear, backbone.feature_dim, num_classes, device=mean.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        return self.head((self.backbone(images) - self.mean) * self.factor)


@dataclass(frozen=True)
class Epochs:
    """The batches of a training, as equal in size as can be; iterated over as often as one likes."""

    seed: int
    num_images: int
    batch_size: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """No image is left out of an epoch."""
        return math.ceil(self.num_images / self.batch_size)

    def __len__(self) -> int:
        """Steps in all."""
        return self.epochs * self.steps_per_epoch

    def __iter__(self) -> Iterator[MicroBatch]:
        for epoch in range(self.epochs):
            order = epoch_order(seed=self.seed, epoch=epoch, num_images=self.num_images)
            for step, indices in enumerate(np.array_split(order, self.steps_per_epoch)):
                yield MicroBatch(epoch * self.steps_per_epoch + step, epoch, indices)


def epochs_for(num_images: int, config: ClassifierConfig, *, epochs: int, seed: int) -> Epochs:
    """`epochs` over `num_images`, or as many as `config.min_steps` takes."""
    steps_per_epoch = math.ceil(num_images / config.batch_size)
    return Epochs(seed, num_images, config.batch_size, max(epochs, math.ceil(config.min_steps / steps_per_epoch)))


def train_classifier(
    start: Start,
    train: Subset,
    *,
    config: ClassifierConfig,
    epochs: Epochs,
    peak: float,
    num_classes: int,
    reading: Reading,
    runtime: Runtime,
    seed: int,
    title: str,
) -> Classifier:
    """Train a new network, BatchNorm as usual, on a part of the data of which every image has a label.

    Args:
        start: what it begins with.
        peak: the backbone's learning rate at the start, for a batch of 256 images; a cosine leads it to 0.
        seed: of all that is drawn; torch's global random state is left alone.
        title: stands before the progress bar.
    """
    labels = train.labels
    assert labels is not None
    with torch.random.fork_rng(devices=[runtime.device] if runtime.on_cuda else []):
        torch.manual_seed(seed)
        backbone = start.make_backbone().requires_grad_(True)
        backbone.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean, factor = torch.zeros(backbone.feature_dim), torch.ones(())
        if start.name == "trained":  # random features hardly differ: standardised, they would blow up every gradient
            mean, factor = _standardization(backbone, train, reading, runtime)
        mean, factor = mean.to(runtime.device), factor.to(runtime.device)
        classifier = Classifier(backbone, mean=mean, factor=factor, num_classes=num_classes).train()
        optimizer = _optimizer(classifier, head_factor=start.head_factor, weight_decay=config.weight_decay)
        scaler = runtime.grad_scaler()
        images_a_step = epochs.num_images / epochs.steps_per_epoch
        peak *= images_a_step / REFERENCE_BATCH
        with (
            closing(reading.crops(train, epochs)) as batches,
            tqdm(
                batches, total=len(epochs), desc=title, unit="step", leave=False, disable=not sys.stderr.isatty()
            ) as bar,
        ):
            for step, crops in enumerate(bar):
                if len(crops.positions) < 2:  # of a tiny part, or none of a batch can be read
                    continue
                rate = learning_rate(step, peak=peak, warmup_steps=0, total_steps=len(epochs), schedule="cosine")
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["factor"]
                with runtime.autocast():
                    logits = classifier(crops.images)
                truth = torch.from_numpy(labels[crops.positions]).to(runtime.device)
                scaler.scale(F.cross_entropy(logits.float(), truth)).backward()
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
    return classifier


def _standardization(backbone: Backbone, train: Subset, reading: Reading, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Of the backbone's features of some training images."""
    some = train.take(evenly_spaced(len(train), at_most=STANDARDIZED_BY))
    features = extract_features(backbone, reading.centres(some), device=runtime.device, autocast=runtime.autocast_dtype)
    return standardization(without_missing(features, labels_of(some))[0].float())


def _optimizer(classifier: Classifier, *, head_factor: float, weight_decay: float) -> torch.optim.SGD:
    """Each group's `factor` is what its learning rate is of the backbone's."""
    groups = [
        {**group, "factor": factor}
        for part, factor in ((classifier.backbone, 1.0), (classifier.head, head_factor))
        for group in parameter_groups(
            part, weight_decay=weight_decay, decay_bias_and_norm=False, adapt_bias_and_norm=False
        )
    ]
    return torch.optim.SGD(groups, lr=1.0, momentum=MOMENTUM, nesterov=True)


@torch.no_grad()
def predict(classifier: Classifier, subset: Subset, *, reading: Reading, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Float32 logits `(images, classes)` and int64 labels of the images that can be read, both on the CPU.

    The network runs in evaluation mode, and stays in it. Where it has diverged, its logits are not finite.

    Raises:
        InputError: none of the images can be read.
    """
    classifier.eval()
    logits, readable = [], []
    for images in reading.centres(subset):
        missing = is_missing(images)
        with runtime.autocast():
            logits.append(classifier(images.masked_fill(missing[:, None, None, None], 0)).float().cpu())
        readable.append(~missing.cpu())
    rows = torch.cat(readable)
    if not rows.any():
        raise InputError(f"none of the {len(rows):,} images to be measured on can be read")
    return torch.cat(logits)[rows], labels_of(subset)[rows]
