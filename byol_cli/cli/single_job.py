"""Commands that do one job and are then done: no sweep, no run folder."""

import shlex
import sys
from collections.abc import Callable, Collection
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

from omegaconf import DictConfig

from byol_cli.cli.command import INTERRUPTED, CommandLine, Outcome, complain, guarded, run_hydra, run_job
from byol_cli.cli.compose import GROUPS, parse_overrides
from byol_cli.cli.streams import unbreakable_streams
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.training.interrupt import Interrupted, StopRequest
from byol_cli.training.ranks import world_size

T = TypeVar("T")
Job = Callable[[T, StopRequest], Outcome]


def run_command(program: str, schema: type[Any], job: Job[Any]) -> None:
    """The console script `program`: its words checked against `schema`, `job` done, and out with an exit code."""
    with unbreakable_streams(), StopRequest(program=program) as stop:
        sys.exit(guarded(program, partial(_run, program, schema, job, sys.argv[1:], stop)))


def _run(program: str, schema: type[T], job: Job[T], argv: list[str], stop: StopRequest) -> int:
    typed = shlex.join([program, *argv])  # Hydra writes in argv
    config_name = program.removeprefix("byol-")
    try:
        line = CommandLine(argv, config_name=config_name)
        if line.wants_information:
            return line.print_information()
        if world_size() > 1:
            raise InputError(f"torchrun starts {world_size()} processes, and {program} works in one; start it without")
        refuse_several(program, line)
        refuse_settings_of_training(program, line, taken={field.name for field in fields(schema)})  # type: ignore[arg-type]
        refuse_folders(program, line)
        refuse_unnamed_dataset(line)
        config = line.load(schema, line.words)
        outcomes: list[Outcome] = []

        def task(_: DictConfig) -> None:
            outcomes.append(run_job(program, lambda: job(config, stop)))

        run_hydra(config_name, line.argv, task)
        return outcomes[0].exit_code
    except Interrupted:
        return complain(program, Outcome(INTERRUPTED, message=f"interrupted; go on by: {typed}"))


def refuse_several(program: str, line: CommandLine) -> None:
    """Raises InputError for -m, and for a setting with several values."""
    if line.multirun:
        raise InputError(f"-m: {program} does one job at a time")
    for override in parse_overrides(line.words):
        if override.is_sweep_override():
            raise InputError(f"{override.input_line}: {program} does one job at a time; a list is written in brackets")


def refuse_settings_of_training(program: str, line: CommandLine, *, taken: Collection[str]) -> None:
    """Raises InputError for a setting that byol-train alone takes: the run has its settings already."""
    of_training = {field.name for field in fields(TrainConfig)} | GROUPS
    for override in parse_overrides(line.words):
        name = override.key_or_group.split(".")[0].split("@")[0]
        if name in of_training and name not in taken:
            raise InputError(f"{override.input_line}: {program} takes no {name}: that is byol-train's, kept in the run")


def refuse_folders(program: str, line: CommandLine) -> None:
    """Raises InputError for a folder that Hydra would make, to be left empty."""
    for override in parse_overrides(line.words):
        if override.key_or_group.startswith(("hydra.run", "hydra.sweep", "hydra.output_subdir")):
            raise InputError(f"{override.input_line}: {program} has no folder of its own; --help shows where it writes")


def refuse_unnamed_dataset(line: CommandLine) -> None:
    """Raises InputError for settings of a data set that is not named: the run's own has its settings already."""
    keys = [override.key_or_group for override in parse_overrides(line.words)]
    settings = [key for key in keys if key.startswith("dataset.")]
    if settings and "dataset" not in keys:
        raise InputError(f"{settings[0]}: name its data set too, by dataset=...; without one it is that of the run")
