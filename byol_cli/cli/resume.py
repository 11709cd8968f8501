"""`resume=RUN_DIR`: the run's own configuration, from its folder, with the few changes that leave its course alone."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from byol_cli.cli.compose import parse_overrides, quoted
from byol_cli.schema.command import OPTIONS, TrainConfig
from byol_cli.schema.dataset import TorchvisionConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import load, plain
from byol_cli.schema.model import CustomConfig

# What may be said again on the command line; everything else would make it another run.
HARMLESS = frozenset(
    "trainer.device trainer.num_workers trainer.log_every_steps trainer.gauges_every_steps trainer.probe_max_images "
    "trainer.checkpoint_every_steps trainer.checkpoint_every_minutes trainer.on_collapse dataset.cache_dir".split()
)
FACTORY = "backbone.factory"


def requested_run(words: Sequence[str]) -> Path | None:
    """The folder that `resume=` names, or None.

    Raises:
        InputError: there is no run in that folder.
    """
    values = [override.value() for override in parse_overrides(words) if override.key_or_group == "resume"]
    if not values or values[-1] is None:
        return None
    run_dir = Path(str(values[-1]))
    if not (run_dir / "config.yaml").is_file():
        raise InputError(f"resume={run_dir}: there is no run in that folder (no config.yaml)")
    return run_dir


def stored_config(values: Any) -> TrainConfig:
    """The configuration in a run's folder or checkpoint; what it names is read, but never downloaded.

    Raises:
        InputError: it is not a configuration of byol-train.
    """
    config = load(TrainConfig, values, OPTIONS)
    if isinstance(config.dataset, TorchvisionConfig):
        return replace(config, dataset=replace(config.dataset, download=False))
    return config


def resumed_config(values: Any, words: Sequence[str]) -> TrainConfig:
    """The run's stored configuration `values`, with the harmless changes in `words`.

    Raises:
        InputError: another change, or a custom backbone whose factory is not named again.
    """
    config = stored_config(values)
    changes = [override for override in parse_overrides(words) if override.key_or_group != "resume"]
    named = [change.value() for change in changes if change.key_or_group == FACTORY]
    if isinstance(config.backbone, CustomConfig) and named != [config.backbone.factory]:
        raise InputError(
            f"this run uses code of its own: name it again by {FACTORY}={config.backbone.factory} if you trust it"
        )
    changed = plain(config)
    for change in changes:
        if change.key_or_group != FACTORY:
            _apply(changed, change)
    return load(TrainConfig, changed, OPTIONS)


def _apply(values: dict[str, Any], change: Override) -> None:
    key = change.key_or_group
    if key not in HARMLESS:
        raise InputError(
            f"{change.input_line}: resume goes on with the run's own settings; only these can be changed: "
            f"{', '.join(sorted(HARMLESS))}"
        )
    group, _, name = key.partition(".")
    values[group][name] = change.value()


def resume_command(run_dir: Path, config: TrainConfig) -> str:
    """The line to type to go on with the run in `run_dir`."""
    factory = getattr(config.backbone, "factory", None)
    plain_path = not set(str(run_dir)) & set("=,:[]{}() '\"\\")
    words = [f"resume={run_dir if plain_path else quoted(run_dir)}", *([f"{FACTORY}={factory}"] if factory else [])]
    return shlex.join(["byol-train", *words])
