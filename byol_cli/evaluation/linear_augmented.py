"""The linear probe with the paper's random crop and flip of the training images (section 4.1, appendix C.1).

The backbone sees every training image anew each epoch; classifiers of all learning rates are trained at once on the
features of each batch. It stays frozen, in evaluation mode: no weight and no statistic of BatchNorm moves.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from byol_cli.data.sources import Subset
from byol_cli.evaluation.classifier import Epochs, Reading
from byol_cli.evaluation.features import evaluating
from byol_cli.evaluation.linear import Classifiers, LinearResult, Training, choose_and_test
from byol_cli.training.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class CroppedImages:
    """The images behind features: those of training and selection, which every label is known of.

    Attributes:
        backbone: on the runtime's device, never changed.
        train, selection: parts of one image set; None for no selection split.
        reading: how crops come to the device.
        runtime: device and precision.
    """

    backbone: nn.Module
    train: Subset
    selection: Subset | None
    reading: Reading
    runtime: Runtime


@torch.no_grad()
def augmented_linear_probe(
    images: CroppedImages,
    *,
    train: Tensor,
    selection: Tensor | None,
    selection_labels: Tensor | None,
    test: Tensor,
    num_classes: int,
    epochs: int,
    batch_size: int,
    learning_rates: Sequence[float],
    seed: int,
) -> LinearResult:
    """As `linear_probe`, but trained on crops; chosen and tested on the features of the images' centres.

    Args:
        images: what the crops are taken of.
        train, selection, test: features of the centres, `(images, dim)` on the CPU; standardisation is by them.
        selection_labels: int64 `(images,)` in [0, num_classes).
        learning_rates: base learning rates.
        seed: of the order of the images.
    """
    device = images.runtime.device

    def fit(rates: Sequence[float], with_selection: bool) -> Classifiers:
        part, features = images.train, train
        if with_selection and images.selection is not None and selection is not None:
            part = Subset(part.images, np.concatenate([part.indices, images.selection.indices]))
            features = torch.cat([train, selection])
        schedule = Epochs(seed, len(part), batch_size, epochs)
        classifiers = Classifiers.untrained(features, num_rates=len(rates), num_classes=num_classes).to(device)
        training = Training(
            batches=_features_of_crops(images, part, schedule),
            total_steps=len(schedule),
            images_a_step=len(part) / schedule.steps_per_epoch,
            prepared=False,
        )
        classifiers.train(training, rates)
        return classifiers.to(torch.device("cpu"))

    return choose_and_test(
        fit,
        learning_rates=learning_rates,
        selection=selection,
        selection_labels=selection_labels,
        test=test,
    )


def _features_of_crops(images: CroppedImages, part: Subset, schedule: Epochs) -> Iterator[tuple[Tensor, Tensor]]:
    labels, runtime = part.labels, images.runtime
    assert labels is not None
    with (
        evaluating(images.backbone),
        closing(images.reading.crops(part, schedule)) as batches,
        tqdm(
            batches,
            total=len(schedule),
            desc="linear probe on crops",
            unit="step",
            leave=False,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        for crops in bar:
            if len(crops.positions):  # where bad images are skipped, a batch may hold no other
                with runtime.autocast():
                    features = images.backbone(crops.images)
                yield features.float(), torch.from_numpy(labels[crops.positions]).to(runtime.device)
