"""`byol-train`: pre-train by BYOL, then measure what was learnt."""

import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from omegaconf import DictConfig

from byol_cli.cli.command import (
    INTERRUPTED,
    REFUSED,
    CommandLine,
    Outcome,
    complain,
    guarded,
    run_hydra,
    run_job,
    say,
    warn,
)
from byol_cli.cli.compose import literally
from byol_cli.cli.folders import RunLock, UnfitRun, holds_run, make_folder
from byol_cli.cli.jobs import fresh_job, job_of_sweep, resume_job
from byol_cli.cli.presets import with_preset
from byol_cli.cli.resume import (
    AUTO,
    chooses_groups,
    refuse_another_folder,
    requested_run,
    unfinished_runs,
    words_on_evaluation,
)
from byol_cli.cli.streams import unbreakable_streams
from byol_cli.cli.sweep import sweep
from byol_cli.cli.sweep_plan import refuse_sweep
from byol_cli.data.missing_folders import MissingFolders
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.training.interrupt import Interrupted, StopRequest
from byol_cli.training.ranks import from_first, is_first, joined, together, world_size

PROGRAM = "byol-train"


def main() -> None:
    """The console script."""
    stop = StopRequest(program=PROGRAM, when_left="resume goes on from the last checkpoint")
    with unbreakable_streams(), stop:
        sys.exit(guarded(PROGRAM, lambda: train(sys.argv[1:], stop=stop)))


def train(argv: list[str], *, stop: StopRequest) -> int:
    """Do what the words `argv` ask for; returns the exit code."""
    try:
        line = CommandLine(argv, config_name="train", complete=with_preset)
        if line.wants_information:
            return line.print_information()
        wanted = requested_run(line.words)
        if line.multirun:
            if world_size() > 1:
                raise InputError("-m under torchrun: a sweep is many runs, and torchrun starts one; leave out either")
            if wanted is not None:
                raise InputError(f"resume={wanted} goes on with one run and cannot be swept; leave out -m")
            return sweep(PROGRAM, line, job_of_sweep, stop=stop)
        refuse_sweep(line.words)
        with joined():
            if wanted == AUTO:
                return newest_or_fresh(line, stop=stop)
            return fresh(line, stop=stop) if wanted is None else resume(line, Path(wanted), stop=stop)
    except Interrupted:
        message = "interrupted before the first step, with nothing to save; the same command begins anew"
        return complain(PROGRAM, Outcome(INTERRUPTED, message=message))


def fresh(line: CommandLine, *, stop: StopRequest) -> int:
    """One run from its start."""
    composed = line.compose(line.words)
    config = line.check(TrainConfig, composed)
    if config.trainer.stop_early != "none":
        raise InputError(f"trainer.stop_early={config.trainer.stop_early} compares the jobs of a sweep; add -m")
    run_dir = from_first(lambda: Path(composed.hydra.run.dir))
    return run_one(line.argv, run_dir, lambda: fresh_job(config, run_dir, stop=stop))


def resume(line: CommandLine, run_dir: Path, *, stop: StopRequest) -> int:
    """Go on with the run in `run_dir`."""
    if not from_first(lambda: holds_run(run_dir)):
        raise InputError(f"resume={run_dir}: there is no run in that folder (no config.yaml)")
    refuse_another_folder(line.words, run_dir)
    composed = line.load(TrainConfig, line.words) if chooses_groups(line.words) else None
    return go_on(line, composed, run_dir, stop=stop)


def newest_or_fresh(line: CommandLine, *, stop: StopRequest) -> int:
    """Go on with the newest unfinished run of these settings, or begin one.

    It is looked for in the folder that the new run's would lie in; a hydra.run.dir that holds a run is that run.
    """
    composed = line.compose(line.words)
    config = line.check(TrainConfig, composed)
    run_dir = from_first(lambda: Path(composed.hydra.run.dir))
    if from_first(lambda: holds_run(run_dir)):
        return go_on(line, config, run_dir, stop=stop)
    for candidate in from_first(lambda: list(unfinished_runs(config, run_dir.parent))):
        try:
            say(f"resume=auto: {candidate}")
            return go_on(line, config, candidate, stop=stop)
        except UnfitRun as error:
            say(f"{error}; it is left alone")
    say("resume=auto: there is no unfinished run of these settings; this is a new one")
    return fresh(line, stop=stop)


def go_on(line: CommandLine, composed: TrainConfig | None, run_dir: Path, *, stop: StopRequest) -> int:
    """Go on with the run in `run_dir`; `composed` is what the words give, where they are a whole command.

    Raises:
        UnfitRun: it cannot be gone on with.
    """
    refusals: list[str] = []
    words, chosen = line.words, words_on_evaluation(line.words)
    evaluation = line.load(TrainConfig, chosen).evaluation if chosen and composed is None else None

    def job() -> Outcome:
        try:
            return resume_job(words, run_dir, composed=composed, evaluation=evaluation, stop=stop)
        except UnfitRun as error:  # Hydra would print it in its own way
            refusals.append(str(error))
            return Outcome(REFUSED)

    try:
        code = run_one([], run_dir, job, field="resume")
    except Interrupted:
        message = f"interrupted before a further step; go on by: {shlex.join([PROGRAM, *words])}"
        return complain(PROGRAM, Outcome(INTERRUPTED, message=message))
    if refusals:
        raise UnfitRun(refusals[0])
    return code


def run_one(argv: list[str], run_dir: Path, job: Callable[[], Outcome], *, field: str = "hydra.run.dir") -> int:
    """Hand one job to Hydra, in `run_dir`; a refused one leaves no folder behind."""
    outcomes: list[Outcome] = []
    missing = MissingFolders(run_dir)

    def task(_: DictConfig) -> float:
        outcomes.append(run_job(PROGRAM, job))
        return outcomes[-1].score

    try:
        from_first(lambda: make_folder(run_dir, field=field))
        with ExitStack() as held:
            together(lambda: held.enter_context(RunLock(run_dir, field=field, say=warn)) if is_first() else None)
            run_hydra("train", [*argv, f"hydra.run.dir={literally(run_dir)}"], task)
    finally:
        if is_first():
            missing.remove_empty()
    return outcomes[0].exit_code
