"""The work of `byol-embed`. Imported late: torch comes with it."""

import hashlib
import json
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from byol_cli.cli.command import DONE, Outcome, say
from byol_cli.cli.folders import LOCK, RunLock
from byol_cli.cli.measurement import feature_settings
from byol_cli.data.build import build_splits
from byol_cli.data.centre_crops import evaluation_batches
from byol_cli.data.images import ImageSet
from byol_cli.data.missing_folders import MissingFolders
from byol_cli.data.sources import Splits, Subset
from byol_cli.evaluation.feature_cache import weights_hash
from byol_cli.evaluation.features import extract_features
from byol_cli.export.every_image import EveryImage
from byol_cli.export.extraction import embed_rest
from byol_cli.export.neighbors import search, write_neighbors
from byol_cli.export.parts import Parts, refuse_foreign
from byol_cli.export.tables import WRITERS, Table, check_writer
from byol_cli.export.trained import TrainedBackbone, open_trained
from byol_cli.export.whole_file import beside, make_folder, refuse_existing, written_whole
from byol_cli.schema.errors import InputError
from byol_cli.schema.export import EmbedConfig
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.runtime import Runtime, resolve_runtime
from byol_cli.training.state import placed

BAD_IMAGES = "bad_images.txt"


def embed_images(config: EmbedConfig, *, stop: StopRequest) -> Outcome:
    """Features of every image into parts, then all parts into one file."""
    output = Path(config.output)
    folder = output.with_name(f"{output.name}.parts")
    refuse_existing(*outputs(config), overwrite=config.overwrite)
    refuse_foreign(folder, known=(LOCK, BAD_IMAGES), output=output)
    check_writer(output.suffix, setting=f"output={output}")
    trained = open_trained(
        Path(config.checkpoint),
        field="checkpoint",
        factory=config.backbone_factory,
        factory_field="backbone_factory",
        say=say,
    )
    runtime = resolve_runtime(device=config.device, precision=config.precision, field="device")
    splits = build_splits(
        config.dataset or trained.dataset,
        channels=trained.channels,
        timeout_seconds=trained.config.trainer.worker_timeout_seconds,
        log=say,
    )
    images = EveryImage(splits)
    if config.neighbors is not None and config.neighbors >= len(images):
        raise InputError(f"neighbors={config.neighbors} must be below the number of images, {len(images):,}")
    say(f"checkpoint: {trained.path}, step {trained.step:,} of a run on {trained.config.dataset.name}")
    missing = MissingFolders(folder)
    make_folder(folder, output=output)
    try:
        with RunLock(folder, field="output", say=say):
            key = parts_key(trained, images, runtime=runtime)
            parts = Parts(folder, key=key, dim=trained.backbone.feature_dim, say=say)
            if parts.done:
                say(f"going on:   {parts.done:,} of {len(images):,} images are done, in {folder}")
            else:
                (folder / BAD_IMAGES).unlink(missing_ok=True)
            splits.bad_images.keep_in(folder / BAD_IMAGES)
            features_of = features_by(trained, splits, config=config, runtime=runtime)
            embed_rest(images, parts, features_of=features_of, stop=stop)
            write_outputs(config, images, parts, device=runtime.device)
            parts.remove()
            (folder / BAD_IMAGES).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
    finally:
        missing.remove_empty()
    return Outcome(DONE)


def outputs(config: EmbedConfig) -> list[Path]:
    """The files that may be written: the table, the list of images that cannot be read, the neighbours."""
    output = Path(config.output)
    neighbors = [] if config.neighbors is None else [beside(output, "neighbors.csv")]
    return [output, beside(output, BAD_IMAGES), *neighbors]


def parts_key(trained: TrainedBackbone, images: EveryImage, *, runtime: Runtime) -> str:
    """SHA-256 over all that features depend on, in hexadecimal."""
    normalization = trained.checkpoint["normalization"]
    settings = feature_settings(trained.config, normalization=normalization, runtime=runtime)
    facts = [settings, weights_hash(trained.backbone), images.fingerprints]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def features_by(
    trained: TrainedBackbone, splits: Splits, *, config: EmbedConfig, runtime: Runtime
) -> Callable[[Subset], Generator[Tensor, None, None]]:
    """How images of one set become features, batch by batch; the backbone moves to the device."""
    device = runtime.device
    backbone = placed(trained.backbone, trained.config.trainer, device=device)
    extract = partial(extract_features, backbone, device=device, autocast=runtime.autocast_dtype)

    def num_workers(images: ImageSet) -> int:
        image_bytes = trained.channels * trained.image_size**2
        return runtime.num_workers(config.num_workers, images=images, image_bytes=image_bytes, log=say)

    def features_of(subset: Subset) -> Generator[Tensor, None, None]:
        batches = evaluation_batches(
            subset,
            resize=trained.resize,
            image_size=trained.image_size,
            batch_size=config.batch_size,
            num_workers=num_workers(subset.images),
            timeout_seconds=trained.config.trainer.worker_timeout_seconds,
            bad_images=splits.bad_images,
            device=device,
            mean=torch.tensor(trained.mean, device=device),
            std=torch.tensor(trained.std, device=device),
            group="",
        )
        for batch in batches:
            yield extract([batch]).float()

    return features_of


def write_outputs(config: EmbedConfig, images: EveryImage, parts: Parts, *, device: torch.device) -> None:
    """The table, and the neighbours where they are asked for: all of them or none."""
    output, bad_images, *more = outputs(config)
    if not parts.rows:
        raise InputError(f"none of the {len(images):,} images can be read")
    with ExitStack() as drafts:
        WRITERS[output.suffix](drafts.enter_context(written_whole(output)), Table(images, parts))
        if config.neighbors is not None:
            found = search(parts, neighbors=config.neighbors, device=device, say=say)
            write_neighbors(drafts.enter_context(written_whole(more[0])), found, images)
    say(f"features:   {output}: {parts.rows:,} images, {parts.dim:,} features each")
    for path in more:
        say(f"neighbors:  {path}")
    num_bad = len(images) - parts.rows
    if num_bad:
        os.replace(parts.folder / BAD_IMAGES, bad_images)
        say(f"left out:   {num_bad:,} images that cannot be read, listed in {bad_images}")
    else:
        bad_images.unlink(missing_ok=True)  # of the file that was replaced
