"""What a stored configuration may not choose by itself: code, places to write, addresses. It is named again."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from byol_cli.cli.compose import parse_overrides
from byol_cli.cli.resume import AUTO
from byol_cli.data.imagenet_archives import refuse_to_unpack
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.dataset import FilesConfig, ShardsConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import CONFIG_DIR, quoted
from byol_cli.schema.model import CustomConfig
from byol_cli.training.ranks import local_world_size, world_size

FACTORY, ROOT = "backbone.factory", "dataset.root"
WRITTEN_IN = {"cache_dir": "decoded images", "shards_dir": "shards"}


def refuse_what_is_not_named_again(stored: TrainConfig, words: Sequence[str]) -> None:
    """A run's folder never chooses code, nor a folder elsewhere to write in; raises InputError.

    `words` change single settings: all others are the run's own.
    """
    said = {override.key_or_group: override.value() for override in parse_overrides(words)}
    for key, value, reason in named_again(stored):
        if key not in said or (key == FACTORY and said[key] != value):
            raise InputError(f"this run {reason}: name it again by {shlex.quote(_typed(key, value))} if you trust it")
    if ROOT not in said:
        refuse_to_unpack(stored.dataset, remedy=f"only where {ROOT} is typed again")


def named_again(stored: TrainConfig) -> Iterator[tuple[str, str, str]]:
    """What has to be on the command line too: setting, value, and why."""
    if isinstance(stored.backbone, CustomConfig):
        yield FACTORY, stored.backbone.factory, "uses code of its own"
    dataset = stored.dataset
    if isinstance(dataset, FilesConfig):  # without a cache, too: dataset.cache=disk may be typed now
        usual = yaml.safe_load((CONFIG_DIR / "dataset" / f"{dataset.name}.yaml").read_text())
        for key in WRITTEN_IN.keys() & usual.keys():
            if (folder := getattr(dataset, key)) != usual[key]:
                yield f"dataset.{key}", folder, f"keeps {WRITTEN_IN[key]} in a folder of its own"
    for key, url in dataset.urls.items() if isinstance(dataset, ShardsConfig) else ():
        yield f"dataset.{key}", url, "reads its images from a URL"


def resume_command(run_dir: Path, config: TrainConfig) -> str:
    """The line to type to go on with the run in `run_dir`."""
    folder = "./auto" if str(run_dir) == AUTO else str(run_dir)
    words = [("resume", folder), *((key, value) for key, value, _ in named_again(config))]
    started = ["torchrun", f"--nproc-per-node={local_world_size()}", "--no-python"] if world_size() > 1 else []
    return shlex.join([*started, "byol-train", *(_typed(key, value) for key, value in words)])


def _typed(key: str, value: str) -> str:
    """`key=value`, the value in quotes where it would be read as anything but itself."""
    try:
        (override,) = parse_overrides([f"{key}={value}"])
        plain_text = override.value() == value and "${" not in value
    except (InputError, ValueError):
        plain_text = False
    return f"{key}={value if plain_text else quoted(value)}"
