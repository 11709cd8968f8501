"""The measurements of `byol-eval`. Imported late: torch comes with it."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import byol_cli
from byol_cli.cli.command import DONE, Outcome, say
from byol_cli.cli.results_file import ResultsFile, facts_of_results
from byol_cli.cli.showing import show
from byol_cli.data.build import build_splits
from byol_cli.data.sources import Splits
from byol_cli.evaluation.evaluator import Evaluator, Subject
from byol_cli.evaluation.feature_cache import FEATURES, FeatureCache
from byol_cli.evaluation.looks import pairs_by, reading_by
from byol_cli.export.trained import TrainedBackbone, open_trained
from byol_cli.report.measured import data_title
from byol_cli.schema.command import EvalConfig, TrainConfig
from byol_cli.schema.dataset import are_apart
from byol_cli.schema.load import option_fields, plain
from byol_cli.schema.model import CustomConfig, TimmConfig
from byol_cli.training.digests import sha256_of
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.runtime import Runtime, resolve_runtime
from byol_cli.training.state import backbone_maker, placed


def measure_checkpoint(config: EvalConfig, *, stop: StopRequest) -> Outcome:
    """Everything but the images comes from the checkpoint: backbone, normalisation, image size."""
    opened = open_trained(
        Path(config.checkpoint),
        field="checkpoint",
        factory=config.backbone_factory,
        factory_field="backbone_factory",
        say=say,
    )
    digest = sha256_of(opened.path)
    runtime = resolve_runtime(device=config.device, precision=config.precision, field="device")
    dataset = config.dataset or opened.dataset
    splits = build_splits(
        dataset,
        channels=opened.channels,
        timeout_seconds=opened.config.trainer.worker_timeout_seconds,
        log=say,
    )
    if not splits.train.has_labels:
        say(f"dataset={dataset.name}: no labels to train on, hence effective rank instead of accuracies")
    cache = cache_of(opened, config, runtime=runtime)
    measured_by = evaluator(opened, config, splits, runtime=runtime, cache=cache)
    say(f"checkpoint:    {opened.path}, step {opened.step:,} of a run on {opened.config.dataset.name}")
    folder = opened.results_folder
    facts = facts_of_results(
        command="byol-eval",
        splits=splits,
        dataset=dataset,
        trained_by=opened.config,
        checkpoint=opened.path,
        checkpoint_sha256=digest,
        folder=folder,
        step=opened.step,
        seed=config.seed,
        runtime=runtime,
    )
    record = ResultsFile(folder, facts=facts, stop=stop, say=say)
    report = measured_by.report(subject(opened, runtime=runtime), record=record)
    if cache is not None:
        cache.say_what_was_reused()
    say(*report.table().splitlines())
    device = runtime.device
    show(
        folder,
        measured_by,
        opened.backbone,
        dataset=dataset,
        step=opened.step,
        mean=torch.tensor(opened.mean, device=device),
        std=torch.tensor(opened.std, device=device),
        tsne=config.tsne,
        facts={"measured on": data_title(plain(dataset)), "device": str(runtime)},
    )
    return Outcome(DONE)


def evaluator(
    opened: TrainedBackbone, config: EvalConfig, splits: Splits, *, runtime: Runtime, cache: FeatureCache | None
) -> Evaluator:
    """What is measured; raises InputError where that needs labels and there are none."""
    augmentation = opened.config.augmentation
    how: dict[str, Any] = {
        "num_workers": runtime.num_workers(
            config.num_workers,
            images=splits.train.images,
            image_bytes=opened.channels * augmentation.image_size**2,
            log=say,
        ),
        "timeout_seconds": opened.config.trainer.worker_timeout_seconds,
        "bad_images": splits.bad_images,
        "device": runtime.device,
        "mean": torch.tensor(opened.mean, device=runtime.device),
        "std": torch.tensor(opened.std, device=runtime.device),
        "group": "",
    }
    return Evaluator(
        splits=splits,
        config=config.evaluation,
        runtime=runtime,
        reading=reading_by(augmentation, seed=config.seed, batch_size=config.batch_size, **how),
        pairs=pairs_by(augmentation, seed=opened.config.seed, batch_size=max(1, config.batch_size // 2), **how),
        seed=config.seed,
        say=say,
        unseen=config.dataset is not None and are_apart(config.dataset, opened.config.dataset),
        cache=cache,
    )


def subject(opened: TrainedBackbone, *, runtime: Runtime) -> Subject:
    """The checkpoint's backbone, and how others of random weights are made."""
    return Subject(
        trained=placed(opened.backbone, opened.config.trainer, device=runtime.device),
        untrained=placed(opened.untrained(), opened.config.trainer, device=runtime.device),
        make_backbone=backbone_maker(opened.config, in_channels=opened.channels),
        epochs=max(1, round(opened.checkpoint["epoch"])),
    )


def cache_of(opened: TrainedBackbone, config: EvalConfig, *, runtime: Runtime) -> FeatureCache | None:
    """None where features are not to be kept, or are made by code that may change, unseen."""
    if not config.feature_cache or isinstance(opened.config.backbone, CustomConfig):
        return None
    settings = feature_settings(opened.config, normalization=opened.checkpoint["normalization"], runtime=runtime)
    return FeatureCache(opened.results_folder / FEATURES, settings=settings, say=say)


def feature_settings(trained_by: TrainConfig, *, normalization: dict[str, Any], runtime: Runtime) -> dict[str, Any]:
    """What features depend on besides weights and images."""
    libraries = ["torch", "torchvision", *(["timm"] if isinstance(trained_by.backbone, TimmConfig) else [])]
    return {
        "backbone": option_fields(trained_by.backbone, without=("weights",)),
        "resize": trained_by.augmentation.evaluation_resize,
        "image_size": trained_by.augmentation.image_size,
        "normalization": normalization,
        "device": runtime.device.type,
        "precision": runtime.precision,
        "channels_last": trained_by.trainer.channels_last,
        "byol_cli": byol_cli.__version__,
        **{name: version(name).split(".")[:2] for name in libraries},
    }
