"""The measurements of `byol-eval`. Imported late: torch comes with it."""

from functools import partial
from pathlib import Path

import torch

from byol_cli.cli.command import DONE, Outcome
from byol_cli.cli.resume import stored_config
from byol_cli.cli.session import say
from byol_cli.data.build import build_splits
from byol_cli.data.loader import evaluation_batches
from byol_cli.evaluation.evaluator import Evaluator
from byol_cli.model.backbones import build_backbone
from byol_cli.schema.command import EvalConfig, TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import option_fields
from byol_cli.schema.model import CustomConfig
from byol_cli.training.checkpoint import find_checkpoint, read_checkpoint
from byol_cli.training.runtime import resolve_runtime


def measure_checkpoint(config: EvalConfig) -> Outcome:
    """Everything but the images comes from the checkpoint: backbone, normalisation, image size."""
    path = find_checkpoint(Path(config.checkpoint), field="checkpoint")
    checkpoint = read_checkpoint(path)
    trained_by = stored_config(checkpoint["config"])
    refuse_unnamed_code(trained_by, config)
    runtime = resolve_runtime(device=config.device, precision=config.precision, field="device")
    dataset = config.dataset or trained_by.dataset
    splits = build_splits(dataset, channels=checkpoint["channels"], log=say)
    if not splits.train.has_labels:
        say(f"dataset={dataset.name} has no labels: effective rank instead of accuracies")
    make_backbone = partial(
        build_backbone,
        in_channels=checkpoint["channels"],
        image_size=trained_by.augmentation.image_size,
        **option_fields(trained_by.backbone, without=("weights",)),
    )
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
    evaluator = Evaluator(
        splits=splits,
        config=config.evaluation,
        runtime=runtime,
        batches=partial(
            evaluation_batches,
            resize=trained_by.augmentation.evaluation_resize,
            image_size=trained_by.augmentation.image_size,
            batch_size=config.batch_size,
            num_workers=runtime.num_workers(config.num_workers, log=say),
            device=runtime.device,
            mean=torch.tensor(checkpoint["normalization"]["mean"], device=runtime.device),
            std=torch.tensor(checkpoint["normalization"]["std"], device=runtime.device),
        ),
        seed=config.seed,
    )
    say(f"checkpoint:    {path}, step {checkpoint['step']:,} of a run on {trained_by.dataset.name}")
    say(evaluator.report(trained.to(runtime.device), untrained=untrained.to(runtime.device)).table())
    return Outcome(DONE)


def refuse_unnamed_code(trained_by: TrainConfig, config: EvalConfig) -> None:
    """A checkpoint never chooses code: its custom backbone must be named on the command line; raises InputError."""
    backbone = trained_by.backbone
    if isinstance(backbone, CustomConfig) and config.backbone_factory != backbone.factory:
        raise InputError(
            f"this backbone is code of its own: name it by backbone_factory={backbone.factory} if you trust it"
        )
