"""The linear probe on random crops: nothing of the backbone moves, and without crops it is the cached one."""

from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from byol_cli.data.bad_images import BadImages
from byol_cli.data.images import ArrayImages
from byol_cli.data.sampler import MicroBatch
from byol_cli.data.sources import Subset
from byol_cli.data.training_crops import Crops
from byol_cli.evaluation.classifier import Reading
from byol_cli.evaluation.features import extract_features
from byol_cli.evaluation.linear import LinearResult, linear_probe
from byol_cli.evaluation.linear_augmented import CroppedImages, augmented_linear_probe
from byol_cli.evaluation.looks import reading_by
from byol_cli.schema.augmentation import (
    AugmentationConfig,
    Blur,
    Crop,
    Flip,
    Grayscale,
    Jitter,
    Noise,
    Rotation,
    Shear,
    Solarize,
    View,
)
from byol_cli.training.runtime import Runtime

CPU = torch.device("cpu")
MEAN, STD = torch.tensor([0.3]), torch.tensor([0.4])
PROBE: dict[str, Any] = {"num_classes": 10, "epochs": 3, "batch_size": 64, "seed": 1}


def augmentation(*, crop: float, flip: float) -> AugmentationConfig:
    view = View(
        crop=Crop(probability=crop, scale=(0.6, 1.0), ratio=(0.8, 1.25), interpolation="bilinear"),
        rotation=Rotation(probability=0.0, degrees=(0.0, 0.0)),
        shear=Shear(probability=0.0, degrees=(0.0, 0.0)),
        flip=Flip(probability=flip),
        jitter=Jitter(probability=1.0, brightness=0.4, contrast=0.4, saturation=0.0, hue=0.0),
        grayscale=Grayscale(probability=0.0),
        blur=Blur(probability=0.0, sigma=(0.1, 2.0), kernel=0.1),
        solarize=Solarize(probability=0.5, threshold=0.5),
        noise=Noise(probability=1.0, std=(0.1, 0.2)),
    )
    return AugmentationConfig(image_size=8, evaluation_resize=8, formulas="torchvision", view1=view, view2=view)


def reading(*, crop: float = 1.0, flip: float = 0.0) -> Reading:
    how: dict[str, Any] = {
        "num_workers": 0,
        "timeout_seconds": 10.0,
        "bad_images": BadImages(num_images=0, max_share=0, say=print),
        "device": CPU,
        "mean": MEAN,
        "std": STD,
    }
    return reading_by(augmentation(crop=crop, flip=flip), seed=0, batch_size=64, **how)


@pytest.fixture(scope="module")
def parts() -> list[Subset]:
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels * 15).to(torch.uint8).view(-1, 1, 8, 8)
    digits = ArrayImages(images=images, labels=labels.astype(np.int64), class_names=tuple("0123456789"))
    order = np.random.default_rng(0).permutation(len(labels))
    return [Subset(digits, indices) for indices in np.split(order[:900], [500, 700])]


@pytest.fixture
def backbone() -> nn.Module:
    """With BatchNorm and Dropout, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.5), nn.AvgPool2d(2), nn.Flatten()
        )


def features_of(backbone: nn.Module, part: Subset) -> Tensor:
    return extract_features(backbone, reading().centres(part), device=CPU, autocast=None)


def accuracy(result: LinearResult, test: Subset) -> float:
    return float((result.test_ranked[:, 0] == torch.from_numpy(test.labels)).double().mean())


def probe(backbone: nn.Module, parts: list[Subset], how: Reading, *, rates: tuple[float, ...] = (0.1,)) -> LinearResult:
    train, selection, test = parts
    assert selection.labels is not None
    images = CroppedImages(
        backbone=backbone, train=train, selection=selection, reading=how, runtime=Runtime(CPU, "fp32")
    )
    return augmented_linear_probe(
        images,
        train=features_of(backbone, train),
        selection=features_of(backbone, selection),
        selection_labels=torch.from_numpy(selection.labels),
        test=features_of(backbone, test),
        learning_rates=rates,
        **PROBE,
    )


def test_weights_and_buffers_stay_byte_for_byte_and_modes_and_random_state_too(
    backbone: nn.Module, parts: list[Subset]
) -> None:
    before = {name: value.numpy().tobytes() for name, value in backbone.state_dict().items()}
    result = probe(backbone, parts, reading(), rates=(0.05, 0.2))
    assert accuracy(result, parts[2]) > 0.5
    assert {name: value.numpy().tobytes() for name, value in backbone.state_dict().items()} == before
    assert len([name for name, _ in backbone.named_buffers()]) == 3
    assert all(module.training for module in backbone.modules())
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_it_repeats_to_the_last_bit(backbone: nn.Module, parts: list[Subset]) -> None:
    first, again = (probe(backbone, parts, reading(), rates=(0.05, 0.2)) for _ in range(2))
    assert first.selection_top1 == again.selection_top1
    assert torch.equal(first.test_ranked, again.test_ranked)


def trained_by_torch(inputs: list[tuple[Tensor, Tensor]], rate: float, dim: int) -> nn.Linear:
    """The reference: a torch Linear and its SGD on standardised features, batch after batch."""
    classifier = nn.utils.skip_init(nn.Linear, dim, 10)
    nn.init.zeros_(classifier.weight)
    nn.init.zeros_(classifier.bias)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1.0, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(inputs))
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"] = rate
    schedule.base_lrs = [rate]
    for features, labels in inputs:
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(features), labels).backward()
        optimizer.step()
        schedule.step()
    return classifier


def test_the_chosen_rate_is_trained_on_crops_of_train_and_selection_as_torch_would(
    backbone: nn.Module, parts: list[Subset]
) -> None:
    train, selection, test = parts
    seen: list[tuple[Tensor, np.ndarray]] = []

    def watched(part: Subset, batches: Iterable[MicroBatch]) -> Generator[Crops, None, None]:
        for crops in reading(flip=0.5).crops(part, batches):
            seen.append((crops.images, part.indices[crops.positions]))
            yield crops

    result = probe(backbone, parts, replace(reading(), crops=watched))
    labels = test.images.labels
    assert labels is not None
    first, last = seen[: 3 * 8], seen[3 * 8 :]
    assert len(last) == 3 * 11
    assert {index for _, indices in first for index in indices} == set(train.indices.tolist())
    together = set(train.indices.tolist()) | set(selection.indices.tolist())
    for epoch in range(3):
        assert {index for _, indices in last[epoch * 11 : epoch * 11 + 11] for index in indices} == together
    features = torch.cat([features_of(backbone, train), features_of(backbone, selection)])
    mean = features.mean(dim=0)
    factor = 4 / (features - mean).square().sum(dim=1).mean().sqrt()
    backbone.eval()
    with torch.no_grad():
        inputs = [((backbone(images) - mean) * factor, torch.from_numpy(labels[indices])) for images, indices in last]
    backbone.train()
    classifier = trained_by_torch(inputs, 0.1 * 700 / 11 / 256, features.shape[1])
    logits = classifier((features_of(backbone, test) - mean) * factor)
    assert (logits.argmax(dim=1) == result.test_ranked[:, 0]).double().mean() > 0.995
    assert (logits.topk(5).indices == result.test_ranked).double().mean() > 0.99


def test_each_epoch_crops_and_flips_anew_and_colours_nothing(parts: list[Subset]) -> None:
    batches = [MicroBatch(0, epoch, np.arange(100)) for epoch in (0, 1)]
    one, other = (crops.images for crops in reading(crop=1.0).crops(parts[0], batches))
    assert (one != other).flatten(1).any(dim=1).double().mean() > 0.9
    (still, _) = (crops.images for crops in reading(crop=0.0).crops(parts[0], batches))
    assert isinstance(parts[0].images, ArrayImages)
    pixels = parts[0].images.images[torch.from_numpy(parts[0].indices[:100])]
    torch.testing.assert_close(still, (pixels / 255 - MEAN) / STD)
    (flipped, _) = (crops.images for crops in reading(crop=0.0, flip=1.0).crops(parts[0], batches))
    assert torch.equal(flipped, still.flip(-1))


def test_without_crop_and_flip_it_is_as_good_as_the_cached_probe(backbone: nn.Module, parts: list[Subset]) -> None:
    train, selection, test = (features_of(backbone, part) for part in parts)
    labels = [torch.from_numpy(part.labels) for part in parts if part.labels is not None]
    cached = linear_probe(
        train=train,
        train_labels=labels[0],
        selection=selection,
        selection_labels=labels[1],
        test=test,
        learning_rates=[0.1],
        **PROBE,
    )
    found = accuracy(probe(backbone, parts, reading(crop=0.0)), parts[2])
    assert found == pytest.approx(accuracy(cached, parts[2]), abs=0.03)
