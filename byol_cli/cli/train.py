"""`byol-train`: pre-train by BYOL, then measure what was learnt."""

import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from byol_cli.cli.command import INTERRUPTED, CommandLine, Outcome, guarded, output_dir, run_hydra, run_job
from byol_cli.cli.compose import quoted
from byol_cli.cli.folders import MissingFolders, make_folder, refuse_used_folder, refuse_used_sweep
from byol_cli.cli.presets import with_preset
from byol_cli.cli.resume import requested_run
from byol_cli.cli.sweep import Sweep, SweepInterrupted, refuse_sweep
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError

PROGRAM = "byol-train"


def main() -> None:
    """The console script."""
    sys.exit(guarded(PROGRAM, lambda: train(sys.argv[1:])))


def train(argv: list[str]) -> int:
    """Do what the words `argv` ask for; returns the exit code."""
    line = CommandLine(argv, config_name="train", complete=with_preset)
    if line.wants_information:
        return line.print_information()
    run_dir = requested_run(line.words)
    if line.multirun:
        if run_dir is not None:
            raise InputError(f"resume={run_dir} goes on with one run and cannot be swept; leave out -m")
        return sweep(line)
    return single(line) if run_dir is None else resume(line, run_dir)


def single(line: CommandLine) -> int:
    """One run from its start."""
    refuse_sweep(line.words)
    composed = line.compose(line.words)
    config = line.check(TrainConfig, composed)
    return run_one(line.argv, Path(composed.hydra.run.dir), lambda run_dir: fresh_job(config, run_dir))


def resume(line: CommandLine, run_dir: Path) -> int:
    """Go on with the run in `run_dir`."""
    return run_one([], run_dir, lambda _: resume_job(run_dir, line.words))


def run_one(argv: list[str], run_dir: Path, job: Callable[[Path], Outcome]) -> int:
    """Hand one job to Hydra, in `run_dir`; a refused one leaves no folder behind."""
    outcomes: list[Outcome] = []
    missing = MissingFolders(run_dir)
    make_folder(run_dir, field="hydra.run.dir")

    def task(_: DictConfig) -> float:
        outcomes.append(run_job(PROGRAM, lambda: job(run_dir)))
        return outcomes[-1].score

    try:
        run_hydra("train", [*argv, f"hydra.run.dir={quoted(run_dir)}"], task)
    finally:
        missing.remove_empty()
    return outcomes[0].exit_code


def sweep(line: CommandLine) -> int:
    """Every combination in its own folder, one after the other, then one table."""
    plan = Sweep(line.words)
    for words in plan.jobs:
        line.load(TrainConfig, words)
    folder = Path(line.compose(plan.fixed).hydra.sweep.dir)
    refuse_used_sweep(folder)
    make_folder(folder, field="hydra.sweep.dir")

    def task(composed: DictConfig) -> float:
        config, run_dir = line.check(TrainConfig, composed), output_dir()
        outcome = plan.run_job(PROGRAM, run_dir, lambda: fresh_job(config, run_dir))
        if outcome.exit_code == INTERRUPTED:
            raise SweepInterrupted
        return outcome.score

    try:
        run_hydra("train", [*line.argv, f"hydra.sweep.dir={quoted(folder)}"], task)
    except SweepInterrupted:
        return INTERRUPTED
    finally:
        print(plan.finish(folder), flush=True)
    return plan.exit_code


def fresh_job(config: TrainConfig, run_dir: Path) -> Outcome:
    """Start a run in `run_dir`. Torch is imported here, so that --help need not wait for it."""
    from byol_cli.cli.session import start

    refuse_used_folder(run_dir)
    return start(config, run_dir)


def resume_job(run_dir: Path, words: list[str]) -> Outcome:
    """Go on with a run."""
    from byol_cli.cli.session import go_on

    return go_on(run_dir, words)
