"""What the measurements cost: seconds of k-NN and of the linear probe, images a second of feature extraction."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.options import Options
from benchmarks.product import RESNET18, configured, prepared
from benchmarks.report import Row, Table, rates
from benchmarks.turns import Contender, Turn, repeat, seconds_by_turns
from byol_cli.data.sources import Subset
from byol_cli.evaluation.features import extract_features
from byol_cli.evaluation.knn import CHUNK, knn_accuracy
from byol_cli.evaluation.linear import linear_probe
from byol_cli.training.setup import Run

NUM_CLASSES, DIM = 10, 512
TRAIN, SELECTION, TEST = 45_000, 5_000, 10_000
SPREAD = 8.0  # standard deviation of the features about their class's centre; that of the centres is 1
IMAGES, BATCH = 1_024, 256


def tables(options: Options) -> Iterator[Table]:
    """The classifiers on made-up features, then a ResNet-18 that makes features of images in memory."""
    classifiers = [
        Contender(key="knn_seconds", title=f"k-NN of {TEST:,} queries", work=knn, units=1),
        Contender(key="linear_seconds", title="linear probe, 5 rates, 80 epochs", work=linear, units=1),
    ]
    seconds = zip(*seconds_by_turns(classifiers, rounds=options.rounds), strict=True)
    yield Table(
        key="eval",
        title=f"classifiers on {TRAIN + SELECTION:,} x {DIM} features",
        unit="seconds",
        rows=[Row(key=c.key, title=c.title, values=column) for c, column in zip(classifiers, seconds, strict=True)],
    )
    extractors = [
        Contender(key="", title="byol-cli", work=extraction, units=IMAGES, ours=True),
        Contender(key="bare", title="floor: bare forward passes, same precision", work=forward_passes, units=IMAGES),
    ]
    yield Table(
        key="features",
        title="features of resnet18, 32 px",
        unit="images/s",
        rows=rates(extractors, seconds_by_turns(extractors, rounds=options.rounds)),
    )


def clusters(images: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Features (images, DIM), a cloud a class about centres that do not depend on the seed, and their labels."""
    centres = torch.randn(NUM_CLASSES, DIM, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(NUM_CLASSES, (images,), generator=generator)
    return centres[labels] + SPREAD * torch.randn(images, DIM, generator=generator), labels


def knn(turn: Turn) -> None:
    """The default k-NN: training and selection images vote on the test images."""
    bank, bank_labels = clusters(TRAIN + SELECTION, seed=1)
    queries, query_labels = clusters(TEST, seed=2)
    config = configured(["evaluation=[knn]"]).evaluation.knn
    assert config is not None

    def measure() -> float:
        return knn_accuracy(
            bank=bank,
            bank_labels=bank_labels,
            queries=queries,
            query_labels=query_labels,
            neighbors=config.neighbors,
            temperature=config.temperature,
            num_classes=NUM_CLASSES,
            chunk=CHUNK,
        )

    repeat(turn, measure, steps=1)


def linear(turn: Turn) -> None:
    """The default linear probe: the rates' choice on the selection images, the last fit, and the test."""
    train, train_labels = clusters(TRAIN, seed=1)
    selection, selection_labels = clusters(SELECTION, seed=2)
    test, _ = clusters(TEST, seed=3)
    config = configured(["evaluation=[linear]"]).evaluation.linear
    assert config is not None

    def measure() -> object:
        return linear_probe(
            train=train,
            train_labels=train_labels,
            selection=selection,
            selection_labels=selection_labels,
            test=test,
            num_classes=NUM_CLASSES,
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rates=config.learning_rates,
            seed=0,
        )

    repeat(turn, measure, steps=1)


def extraction(turn: Turn) -> None:
    """The product's way from images in memory to features."""
    run, subset = _images()

    def extract() -> Tensor:
        batches, dtype = run.evaluation_batches(subset), run.runtime.autocast_dtype
        return extract_features(run.state.online.backbone, batches, device=run.runtime.device, autocast=dtype)

    repeat(turn, extract, steps=1)


def forward_passes(turn: Turn) -> None:
    """The backbone on batches that lie on the device already."""
    run, subset = _images()
    batches, backbone = list(run.evaluation_batches(subset)), run.state.online.backbone.eval()
    device, dtype = run.runtime.device.type, run.runtime.autocast_dtype

    @torch.no_grad()
    def extract() -> None:
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            for batch in batches:
                backbone(batch)

    repeat(turn, extract, steps=1)


def _images() -> tuple[Run, Subset]:
    number = f"dataset.num_images={IMAGES}"
    run = prepared([*RESNET18, number, "dataset.selection_fraction=0", f"trainer.batch_size={BATCH}"])
    return run, run.splits.pretrain
