"""The measurements of `byol-eval`. Imported late: torch comes with it."""

from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import byol_cli
from byol_cli.cli.command import DONE, Outcome, say
from byol_cli.cli.resume import stored_config
from byol_cli.data.build import build_splits
from byol_cli.data.centre_crops import evaluation_batches
from byol_cli.data.imagenet_archives import refuse_to_unpack
from byol_cli.evaluation.evaluator import Evaluator
from byol_cli.evaluation.feature_cache import FeatureCache, feature_folder
from byol_cli.schema.command import EvalConfig, TrainConfig
from byol_cli.schema.dataset import DatasetConfig, FilesConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import option_fields
from byol_cli.schema.model import CustomConfig, TimmConfig
from byol_cli.training.checkpoint_search import open_checkpoint
from byol_cli.training.runtime import Runtime, resolve_runtime
from byol_cli.training.state import backbone_maker


def measure_checkpoint(config: EvalConfig) -> Outcome:
    """Everything but the images comes from the checkpoint: backbone, normalisation, image size."""
    path, checkpoint = open_checkpoint(Path(config.checkpoint), field="checkpoint", say=say)
    trained_by = stored_config(checkpoint["config"])
    refuse_unnamed_code(trained_by, config)
    runtime = resolve_runtime(device=config.device, precision=config.precision, field="device")
    dataset = config.dataset or only_read(trained_by.dataset)
    timeout_seconds = trained_by.trainer.worker_timeout_seconds
    splits = build_splits(dataset, channels=checkpoint["channels"], timeout_seconds=timeout_seconds, log=say)
    if not splits.train.has_labels:
        say(f"dataset={dataset.name} has no labels: effective rank instead of accuracies")
    make_backbone = backbone_maker(trained_by, in_channels=checkpoint["channels"])
    torch.manual_seed(trained_by.seed)
    untrained, trained = make_backbone(), make_backbone()
    prefix = "backbone."
    weights = {key[len(prefix) :]: value for key, value in checkpoint["online"].items() if key.startswith(prefix)}
    try:
        trained.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"checkpoint={path} does not fit its own backbone: {' '.join(str(error).split())[:300]}"
        ) from None
    cache = None
    if config.feature_cache and not isinstance(trained_by.backbone, CustomConfig):  # whose code may change, unseen
        settings = feature_settings(trained_by, normalization=checkpoint["normalization"], runtime=runtime)
        cache = FeatureCache(feature_folder(path), settings=settings, say=say)
    evaluator = Evaluator(
        splits=splits,
        config=config.evaluation,
        runtime=runtime,
        batches=partial(
            evaluation_batches,
            resize=trained_by.augmentation.evaluation_resize,
            image_size=trained_by.augmentation.image_size,
            batch_size=config.batch_size,
            num_workers=runtime.num_workers(
                config.num_workers,
                images=splits.train.images,
                image_bytes=checkpoint["channels"] * trained_by.augmentation.image_size**2,
                log=say,
            ),
            timeout_seconds=timeout_seconds,
            bad_images=splits.bad_images,
            device=runtime.device,
            mean=torch.tensor(checkpoint["normalization"]["mean"], device=runtime.device),
            std=torch.tensor(checkpoint["normalization"]["std"], device=runtime.device),
            group="",
        ),
        seed=config.seed,
        cache=cache,
    )
    say(f"checkpoint:    {path}, step {checkpoint['step']:,} of a run on {trained_by.dataset.name}")
    report = evaluator.report(trained.to(runtime.device), untrained=untrained.to(runtime.device))
    if cache is not None:
        cache.say_what_was_reused()
    say(*report.table().splitlines())
    return Outcome(DONE)


def only_read(dataset: DatasetConfig) -> DatasetConfig:
    """A checkpoint's data set, read from its files: a checkpoint chooses no folder to write in; raises InputError."""
    refuse_to_unpack(dataset, remedy="only where dataset=imagenet and dataset.root are typed")
    return replace(dataset, cache=None) if isinstance(dataset, FilesConfig) else dataset


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
        "byol_cli": byol_cli.__version__,
        **{name: version(name).split(".")[:2] for name in libraries},
    }


def refuse_unnamed_code(trained_by: TrainConfig, config: EvalConfig) -> None:
    """A checkpoint never chooses code: its custom backbone must be named on the command line; raises InputError."""
    backbone = trained_by.backbone
    if isinstance(backbone, CustomConfig) and config.backbone_factory != backbone.factory:
        raise InputError(
            f"this backbone is code of its own: name it by backbone_factory={backbone.factory} if you trust it"
        )
