"""Fine-tuning and the supervised baseline, on a small network and digits of 8 x 8 pixels."""

import copy
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byol_cli.data.bad_images import BadImages
from byol_cli.data.centre_crops import evaluation_batches
from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Splits, Subset, whole
from byol_cli.data.training_crops import Crops, training_crops
from byol_cli.evaluation.classifier import (
    Epochs,
    Reading,
    epochs_for,
    from_scratch,
    from_trained,
    predict,
    train_classifier,
)
from byol_cli.evaluation.differences import compared
from byol_cli.evaluation.finetune import finetune_results
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.supervised import supervised_results
from byol_cli.model.backbones import Backbone
from byol_cli.schema.augmentation import Blur, Crop, Flip, Grayscale, Jitter, Noise, Rotation, Shear, Solarize, View
from byol_cli.schema.errors import InputError, TrainingFault
from byol_cli.schema.finetune import FinetuneConfig, SupervisedConfig
from byol_cli.training.runtime import Runtime
from byol_cli.views.crop_flip import CropFlip

FP32 = Runtime(torch.device("cpu"), "fp32")
TRAINING: dict[str, Any] = {
    "min_steps": 1,
    "batch_size": 50,
    "learning_rates": [0.3],
    "weight_decay": 1e-4,
}
FINETUNE = FinetuneConfig(
    **{**TRAINING, "min_steps": 60}, epochs=1, head_factor=5.0, fractions=[], labels_per_class=[4], draws=2
)
SUPERVISED = SupervisedConfig(**TRAINING, epochs=None)
VIEW = View(
    crop=Crop(probability=1.0, scale=(0.7, 1.0), ratio=(0.9, 1.1), interpolation="bilinear"),
    rotation=Rotation(probability=0.0, degrees=(0.0, 0.0)),
    shear=Shear(probability=0.0, degrees=(0.0, 0.0)),
    flip=Flip(probability=0.0),
    jitter=Jitter(probability=0.0, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
    grayscale=Grayscale(probability=0.0),
    blur=Blur(probability=0.0, sigma=(0.1, 2.0), kernel=0.5),
    solarize=Solarize(probability=0.0, threshold=0.5),
    noise=Noise(probability=0.0, std=(0.0, 0.1)),
)


@pytest.fixture(scope="module")
def splits(digits: Any) -> Splits:
    pixels = torch.cat([digits.train, digits.selection, digits.test])
    labels = torch.cat([digits.train_labels, digits.selection_labels, digits.test_labels])
    images = ArrayImages(
        images=(pixels * 255).round().to(torch.uint8).view(-1, 1, 8, 8),
        labels=labels.numpy(),
        class_names=tuple("0123456789"),
        title="digits",
    )
    part = whole(images)
    return Splits(
        pretrain=part.take(np.arange(1200)),
        train=part.take(np.arange(1200)),
        selection=part.take(np.arange(1200, 1400)),
        test=part.take(np.arange(1400, len(images))),
        class_names=images.class_names,
        fingerprint="",
        channels=1,
        bad_images=BadImages(num_images=len(images), max_share=0.5, say=print),
    )


@pytest.fixture(scope="module")
def reading(splits: Splits) -> Reading:
    common: dict[str, Any] = {
        "num_workers": 0,
        "timeout_seconds": 60,
        "bad_images": splits.bad_images,
        "device": FP32.device,
        "mean": torch.tensor([0.3]),
        "std": torch.tensor([0.35]),
    }
    crop_flip = CropFlip(view=VIEW, image_size=8, seed=0, formulas="torchvision")
    return Reading(
        crops=partial(training_crops, crop_flip=crop_flip, **common),
        centres=partial(evaluation_batches, resize=8, image_size=8, batch_size=128, **common),
        crop_settings={"crop": asdict(VIEW.crop), "flip": asdict(VIEW.flip)},
    )


def make_backbone() -> Backbone:
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip
    return Backbone(network, setting="small", in_channels=1, image_size=8)


def seeded(make: Any, seed: int = 1) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


@pytest.fixture(scope="module")
def trained(splits: Splits, reading: Reading) -> Backbone:
    """A backbone that really knows digits: from a supervised network."""
    classifier = train_classifier(
        from_scratch(make_backbone),
        splits.train,
        config=FINETUNE,
        epochs=Epochs(0, 1200, 50, 6),
        peak=0.5,
        num_classes=10,
        reading=reading,
        runtime=FP32,
        seed=0,
        title="",
    )
    return classifier.backbone


def finetune(
    splits: Splits, reading: Reading, trained: Backbone, *, seed: int = 0, runtime: Runtime = FP32, **changes: Any
) -> list[Result]:
    """For each amount of labels, first from the trained backbone."""
    results = [
        *finetune_results(
            replace(FINETUNE, **changes),
            splits=splits,
            trained=trained,
            make_backbone=make_backbone,
            reading=reading,
            runtime=runtime,
            seed=seed,
            log=lambda line: None,
        )
    ]
    return [result for pair in zip(results[1::2], results[::2], strict=True) for result in pair]


def test_with_few_labels_a_trained_backbone_beats_the_same_one_from_random_weights(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    of_trained, of_scratch = finetune(splits, reading, trained, labels_per_class=[2])
    assert (of_trained.measure, of_trained.representation, of_scratch.representation) == (
        "finetune",
        "trained",
        "scratch",
    )
    assert of_trained.measured_on == "test"
    assert of_trained.figures["top1"] > 0.9 > of_scratch.figures["top1"] + 0.1
    assert of_trained.figures["top5"] >= of_trained.figures["top1"]


def test_the_pretrained_backbone_stays_as_it_is_bit_for_bit(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    trained.eval()
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    finetune(splits, reading, trained)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())
    assert not any(module.training for module in trained.modules())
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_the_same_seed_gives_the_same_figures_and_another_one_others(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    first, again, other = (finetune(splits, reading, trained, seed=seed, min_steps=15) for seed in (3, 3, 4))
    assert first == again
    assert [result.figures for result in first] != [result.figures for result in other]


def test_of_draws_the_mean_and_the_deviation_are_told(splits: Splits, reading: Reading, trained: Backbone) -> None:
    for result in finetune(splits, reading, trained, draws=3, fractions=[0.02], min_steps=5):
        accuracies = result.settings["accuracies"]
        assert len(accuracies) == result.settings["draws"] == 3
        assert result.figures["top1"] == pytest.approx(np.mean(accuracies))
        assert result.figures["std"] == pytest.approx(np.std(accuracies))
        assert result.confusion is None


def test_each_amount_of_labels_is_measured_from_both_starts(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    results = finetune(
        splits,
        reading,
        trained,
        min_steps=1,
        draws=2,
        fractions=[1.0, 0.05],
        labels_per_class=[3],
        learning_rates=[0.1],
    )
    labels = splits.train.labels
    twentieth = sum(round(0.05 * count) for count in np.bincount(labels))  # type: ignore[arg-type]
    assert [result.settings["train_images"] for result in results] == [1200, 1200, twentieth, twentieth, 30, 30]
    assert [result.settings["draws"] for result in results] == [1, 1, 2, 2, 2, 2]
    assert [result.settings.get("labels_per_class") for result in results] == [None] * 4 + [3] * 2
    for result in results:
        assert result.settings["crop"] == asdict(VIEW.crop)
        assert result.settings["flip"] == asdict(VIEW.flip)
        assert result.settings["head_factor"] == 5.0
        assert (result.settings["measured_images"], result.settings["skipped_images"]) == (len(splits.test or ()), 0)
    everything = results[0]
    assert everything.settings["fraction"] == 1
    assert np.sum(everything.confusion) == len(splits.test or ())  # type: ignore[arg-type]
    assert set(everything.per_class or ()) == set("0123456789")
    assert everything.interval["top1"][0] < everything.figures["top1"] < everything.interval["top1"][1]


def test_the_selection_split_chooses_the_learning_rate_and_the_test_set_is_read_once_a_network(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    read: list[int] = []

    def centres(subset: Subset) -> Iterator[Tensor]:
        read.append(int(subset.indices[0]))
        return reading.centres(subset)  # type: ignore[return-value]

    watched = replace(reading, centres=centres)
    result, _ = finetune(splits, watched, trained, learning_rates=[1e-6, 0.3], draws=2)
    assert result.settings["learning_rate"] == 0.3
    assert result.settings["head_learning_rate"] == 1.5
    assert result.settings["selection_top1"] > 0.8
    assert splits.test is not None
    assert read.count(int(splits.test.indices[0])) == 4  # two draws from two starts
    assert read.count(int(splits.selection.indices[0])) == 4  # two learning rates, of the first draw, from two starts


def test_without_a_test_set_the_selection_split_is_measured_on_and_chooses_nothing(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    result, _ = finetune(replace(splits, test=None), reading, trained, learning_rates=[1e-6, 0.3, 2.0])
    assert (result.measured_on, result.settings["learning_rate"]) == ("selection", 0.3)
    assert result.settings["selection_top1"] is None


def test_the_first_step_is_sgd_with_nesterov_momentum_by_hand(splits: Splits, reading: Reading) -> None:
    """One step from a head of zeros: it moves by lr x (1 + momentum) x gradient, and the backbone not at all."""
    part, backbone = splits.train.take(np.arange(40)), seeded(make_backbone)
    config = replace(FINETUNE, weight_decay=1e-30)
    classifier = train_classifier(
        replace(from_trained(backbone, head_factor=4.0), name="scratch"),
        part,
        config=config,
        epochs=Epochs(7, 40, 50, 1),
        peak=0.1,
        num_classes=10,
        reading=reading,
        runtime=FP32,
        seed=0,
        title="",
    )
    (crops,) = reading.crops(part, Epochs(7, 40, 50, 1))
    assert part.labels is not None
    one_hot = F.one_hot(torch.from_numpy(part.labels[crops.positions]), 10).float()
    features = copy.deepcopy(backbone).train()(crops.images).detach()
    gradient = (0.1 - one_hot).T @ features / 40
    expected = -0.1 * 40 / 256 * 4 * 1.9 * gradient
    torch.testing.assert_close(classifier.head.weight.detach(), expected, atol=1e-6, rtol=1e-4)
    for old, new in zip(backbone.parameters(), classifier.backbone.parameters(), strict=True):
        torch.testing.assert_close(old, new, atol=1e-12, rtol=0)


def test_batch_norm_is_trained_as_usual(splits: Splits, reading: Reading) -> None:
    backbone = seeded(make_backbone)
    start = from_scratch(lambda: copy.deepcopy(backbone))
    options: dict[str, Any] = {"config": FINETUNE, "num_classes": 10, "reading": reading, "runtime": FP32, "seed": 0}
    classifier = train_classifier(start, splits.train, epochs=Epochs(0, 1200, 50, 1), peak=0.1, title="", **options)
    norms = [module for module in classifier.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == 24 for norm in norms)
    assert all(norm.weight.ne(1).any() and norm.state_dict()["running_mean"].any() for norm in norms)


def test_the_head_of_a_trained_backbone_does_not_mind_the_scale_of_its_features(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    """Features of a thousandth are standardised, so that the head, alone with a tiny rate of the backbone, learns."""

    class Faint(Backbone):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) / 1000

    faint = Faint(copy.deepcopy(trained).network, setting="faint", in_channels=1, image_size=8)
    changes: dict[str, Any] = {"learning_rates": [1e-4], "head_factor": 20_000.0, "draws": 1}
    normal, _ = finetune(splits, reading, trained, **changes)
    result, _ = finetune(splits, reading, faint, **changes)
    assert result.figures["top1"] == pytest.approx(normal.figures["top1"], abs=0.03)
    assert result.figures["top1"] > 0.85


def test_few_labels_are_trained_on_for_the_steps_asked_for() -> None:
    config = replace(FINETUNE, min_steps=100)
    assert len(epochs_for(60, config, epochs=3, seed=0)) == 100  # 2 steps an epoch
    assert len(epochs_for(6000, config, epochs=3, seed=0)) == 360
    batches = list(epochs_for(101, config, epochs=40, seed=0))
    assert [len(batch.indices) for batch in batches[:3]] == [34, 34, 33]
    assert sorted(np.concatenate([batch.indices for batch in batches[3:6]])) == list(range(101))


def test_images_that_cannot_be_read_are_left_out(splits: Splits, reading: Reading, trained: Backbone) -> None:
    def centres(subset: Subset) -> Iterator[Tensor]:
        for images in reading.centres(subset):
            images[::3] = torch.nan
            yield images

    def crops(subset: Subset, batches: Any) -> Any:
        for part in reading.crops(subset, batches):
            yield Crops(part.images[1:], part.positions[1:])

    result, _ = finetune(splits, replace(reading, crops=crops, centres=centres), trained)
    assert result.figures["top1"] > 0.85

    def nothing(subset: Subset) -> Iterator[Tensor]:
        return (torch.full_like(images, torch.nan) for images in reading.centres(subset))

    with pytest.raises(InputError, match="can be read"):
        finetune(splits, replace(reading, centres=nothing), trained)


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_trains_as_well(splits: Splits, reading: Reading, trained: Backbone, precision: str) -> None:
    result, _ = finetune(splits, reading, trained, runtime=Runtime(torch.device("cpu"), precision))
    assert result.figures["top1"] > 0.88


def test_a_network_that_diverges_is_a_fault_unless_another_learning_rate_is_better(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    result, _ = finetune(splits, reading, trained, learning_rates=[0.3, 1e30])
    assert result.settings["learning_rate"] == 0.3
    with pytest.raises(TrainingFault, match=r"finetune, 4 labels a class, scratch.* diverged with learning_rates"):
        finetune(splits, reading, trained, learning_rates=[1e30])


def test_the_supervised_baseline_trains_for_as_long_as_the_pre_training(splits: Splits, reading: Reading) -> None:
    def supervised(**changes: Any) -> Result:
        (result,) = supervised_results(
            replace(SUPERVISED, **changes),
            splits=splits,
            make_backbone=make_backbone,
            pretraining_epochs=4,
            reading=reading,
            runtime=FP32,
            seed=0,
            log=lambda line: None,
        )
        return result

    result = supervised()
    assert (result.measure, result.representation, result.measured_on) == ("supervised", "scratch", "test")
    assert result.settings["epochs"] == 4
    assert result.settings["steps"] == 4 * 24
    assert result.figures["top1"] > 0.9
    assert supervised(epochs=1).settings["epochs"] == 1
    assert supervised() == result


def test_with_all_labels_it_is_compared_with_no_pretraining_image_by_image(
    splits: Splits, reading: Reading, trained: Backbone
) -> None:
    changes: dict[str, Any] = {"fractions": [1.0], "labels_per_class": [4], "min_steps": 1, "draws": 2}
    results = finetune(splits, reading, trained, **changes)
    found = [compared(result, results[1::2], seed=0).difference for result in results[::2]]
    assert [list(one) for one in found] == [["scratch"], []]  # a mean over draws is of no image
    assert found[0]["scratch"]["top1"][0] < found[0]["scratch"]["top1"][1]


def test_what_cannot_be_measured_is_refused_in_one_line(splits: Splits, reading: Reading, trained: Backbone) -> None:
    labels, images = splits.train.labels, splits.train.images
    assert labels is not None
    with pytest.raises(InputError, match="evaluation=finetune needs two classes or more.*of class 3"):
        finetune(replace(splits, train=splits.train.take(labels == 3)), reading, trained)
    bare: dict[str, Any] = {
        name: Subset(images.without_labels(), splits.train.indices) for name in ("train", "selection", "test")
    }
    with pytest.raises(InputError, match="evaluation=finetune needs labelled training images"):
        finetune(replace(splits, **bare), reading, trained)
    with pytest.raises(InputError, match="nothing to measure on"):
        finetune(replace(splits, test=None, selection=splits.selection.take(np.arange(0))), reading, trained)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rates": []},
        {"learning_rates": [0.1] * 21},
        {"fractions": [], "labels_per_class": []},
        {"labels_per_class": [1, 5, 1]},
        {"fractions": [0.1, 0.1]},
    ],
)
def test_a_configuration_that_trains_nothing_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(FINETUNE, **change)


def test_predictions_are_those_of_the_network_in_evaluation_mode(splits: Splits, reading: Reading) -> None:
    options: dict[str, Any] = {"config": FINETUNE, "num_classes": 10, "reading": reading, "runtime": FP32, "seed": 0}
    start = from_scratch(make_backbone)
    classifier = train_classifier(start, splits.train, epochs=Epochs(0, 1200, 50, 1), peak=0.1, title="", **options)
    logits, labels = predict(classifier, splits.selection, reading=reading, runtime=FP32)
    images = torch.cat(list(reading.centres(splits.selection)))
    with torch.no_grad():
        torch.testing.assert_close(logits, classifier.eval()(images), atol=1e-4, rtol=1e-4)
    assert labels.tolist() == splits.selection.labels.tolist()  # type: ignore[union-attr]
