"""`byol-eval`: measure the backbone in a checkpoint, on its own data set or another one with labels."""

import sys
from typing import Any

from omegaconf import DictConfig

from byol_cli.cli.command import CommandLine, Outcome, guarded, run_hydra, run_job
from byol_cli.cli.streams import unbreakable_streams
from byol_cli.cli.sweep_plan import refuse_sweep
from byol_cli.schema.command import EvalConfig
from byol_cli.schema.errors import InputError

PROGRAM = "byol-eval"


def main() -> None:
    """The console script."""
    with unbreakable_streams():
        sys.exit(guarded(PROGRAM, lambda: evaluate(sys.argv[1:])))


def evaluate(argv: list[str]) -> int:
    """Do what the words `argv` ask for; returns the exit code."""
    line = CommandLine(argv, config_name="eval")
    if line.wants_information:
        return line.print_information()
    if line.multirun:
        raise InputError("-m: byol-eval measures one checkpoint at a time")
    refuse_sweep(line.words)
    config = line.load(EvalConfig, line.words)
    outcomes: list[Outcome] = []

    def task(_: DictConfig) -> Any:
        outcomes.append(run_job(PROGRAM, lambda: job(config)))

    run_hydra("eval", line.argv, task)
    return outcomes[0].exit_code


def job(config: EvalConfig) -> Outcome:
    """Measure. Torch is imported here, so that --help need not wait for it."""
    from byol_cli.cli.measurement import measure_checkpoint

    return measure_checkpoint(config)
