"""`byol-train`: pre-train by BYOL, then measure what was learnt."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from byol_cli.cli.command import (
    DONE,
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
from byol_cli.cli.folders import RunLock, UnfitRun, holds_run, make_folder, refuse_used_folder, summary_if_done
from byol_cli.cli.job_folder import finished_before
from byol_cli.cli.presets import with_preset
from byol_cli.cli.resume import (
    AUTO,
    asked_config,
    checked_config,
    chooses_groups,
    config_in,
    is_forced,
    refuse_another_folder,
    refuse_what_is_not_named_again,
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
from byol_cli.schema.evaluation import EvaluationConfig
from byol_cli.training.interrupt import Interrupted, StopRequest

PROGRAM = "byol-train"


def main() -> None:
    """The console script."""
    with unbreakable_streams(), StopRequest() as stop:
        sys.exit(guarded(PROGRAM, lambda: train(sys.argv[1:], stop=stop)))


def train(argv: list[str], *, stop: StopRequest) -> int:
    """Do what the words `argv` ask for; returns the exit code."""
    try:
        line = CommandLine(argv, config_name="train", complete=with_preset)
        if line.wants_information:
            return line.print_information()
        wanted = requested_run(line.words)
        if line.multirun:
            if wanted is not None:
                raise InputError(f"resume={wanted} goes on with one run and cannot be swept; leave out -m")
            return sweep(PROGRAM, line, job_of_sweep, stop=stop)
        refuse_sweep(line.words)
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
    run_dir = Path(composed.hydra.run.dir)
    return run_one(line.argv, run_dir, lambda: fresh_job(config, run_dir, stop=stop))


def resume(line: CommandLine, run_dir: Path, *, stop: StopRequest) -> int:
    """Go on with the run in `run_dir`."""
    if not holds_run(run_dir):
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
    run_dir = Path(composed.hydra.run.dir)
    if holds_run(run_dir):
        return go_on(line, config, run_dir, stop=stop)
    for candidate in unfinished_runs(config, run_dir.parent):
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
        make_folder(run_dir, field=field)
        with RunLock(run_dir, field=field, say=warn):
            run_hydra("train", [*argv, f"hydra.run.dir={literally(run_dir)}"], task)
    finally:
        missing.remove_empty()
    return outcomes[0].exit_code


def job_of_sweep(config: TrainConfig, run_dir: Path, *, stop: StopRequest) -> Outcome:
    """Begin a job of a sweep in `run_dir`, go on with it, or leave it alone where it is finished."""
    if not holds_run(run_dir):
        return fresh_job(config, run_dir, stop=stop)

    def asked(stored: TrainConfig) -> TrainConfig:
        wanted = asked_config(stored, (), composed=config, evaluation=None)
        return checked_config(stored, wanted, source=str(run_dir), whole=False, force=config.resume_force, say=say)

    finished = finished_before(run_dir, config.trainer)
    if finished is not None and not config.resume_force:
        asked(config_in(run_dir))
        say(f"{run_dir} is finished already")
        return finished
    with stop.finishing():
        from byol_cli.cli import session
    stop.check()
    return session.go_on(run_dir, asked=asked, force=config.resume_force, stop=stop)


def fresh_job(config: TrainConfig, run_dir: Path, *, stop: StopRequest) -> Outcome:
    """Start a run in `run_dir`. Torch is imported here, so that --help need not wait for it."""
    refuse_used_folder(run_dir)
    with stop.finishing():  # an exception in the midst of torch's own start-up would abort the process
        from byol_cli.cli import session
    stop.check()
    return session.start(config, run_dir, stop=stop)


def resume_job(
    words: Sequence[str],
    run_dir: Path,
    *,
    composed: TrainConfig | None,
    evaluation: EvaluationConfig | None,
    stop: StopRequest,
) -> Outcome:
    """Go on with a run. Torch is imported here, where there is something left to do."""
    force = is_forced(words)

    def asked(stored: TrainConfig) -> TrainConfig:
        config = asked_config(stored, words, composed=composed, evaluation=evaluation)
        whole = chooses_groups(words)
        return checked_config(stored, config, source=f"resume={run_dir}", whole=whole, force=force, say=say)

    def asked_and_named(stored: TrainConfig) -> TrainConfig:
        if composed is None:
            refuse_what_is_not_named_again(stored, words)
        return asked(stored)

    if summary_if_done(run_dir) and not force:
        asked(config_in(run_dir))
        say(f"the run in {run_dir} is done; there is nothing left to do")
        return Outcome(DONE)
    with stop.finishing():
        from byol_cli.cli import session
    stop.check()
    return session.go_on(run_dir, asked=asked_and_named, force=force, stop=stop)
