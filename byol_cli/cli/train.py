"""`byol-train`: pre-train by BYOL, then measure what was learnt."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from byol_cli.cli.command import (
    INTERRUPTED,
    CommandLine,
    Outcome,
    complain,
    guarded,
    output_dir,
    run_hydra,
    run_job,
)
from byol_cli.cli.compose import literally
from byol_cli.cli.folders import (
    LockedFolder,
    RunLock,
    holds_run,
    make_folder,
    refuse_used_folder,
    refuse_used_sweep,
)
from byol_cli.cli.presets import with_preset
from byol_cli.cli.resume import (
    AUTO,
    asked_config,
    chooses_groups,
    is_forced,
    refuse_what_is_not_named_again,
    requested_run,
    unfinished_runs,
)
from byol_cli.cli.streams import unbreakable_streams
from byol_cli.cli.sweep import Sweep, refuse_sweep
from byol_cli.data.missing_folders import MissingFolders
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
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
            return sweep(line, stop=stop)
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
    run_dir = Path(composed.hydra.run.dir)
    return run_one(line.argv, run_dir, lambda: fresh_job(config, run_dir, stop=stop))


def resume(line: CommandLine, run_dir: Path, *, stop: StopRequest) -> int:
    """Go on with the run in `run_dir`."""
    if not holds_run(run_dir):
        raise InputError(f"resume={run_dir}: there is no run in that folder (no config.yaml)")
    composed = line.load(TrainConfig, line.words) if chooses_groups(line.words) else None
    return go_on(line.words, composed, run_dir, stop=stop)


def newest_or_fresh(line: CommandLine, *, stop: StopRequest) -> int:
    """Go on with the newest unfinished run of these settings, or begin one.

    It is looked for in the folder that the new run's would lie in; a hydra.run.dir that holds a run is that run.
    """
    composed = line.compose(line.words)
    config = line.check(TrainConfig, composed)
    run_dir = Path(composed.hydra.run.dir)
    if holds_run(run_dir):
        return go_on(line.words, config, run_dir, stop=stop)
    for candidate in unfinished_runs(config, run_dir.parent):
        try:
            print(f"resume=auto: {candidate}", flush=True)
            return go_on(line.words, config, candidate, stop=stop)
        except LockedFolder as error:
            print(f"{error}; it is left alone", flush=True)
    print("resume=auto: there is no unfinished run of these settings; this is a new one", flush=True)
    return fresh(line, stop=stop)


def go_on(words: Sequence[str], composed: TrainConfig | None, run_dir: Path, *, stop: StopRequest) -> int:
    """Go on with the run in `run_dir`; `composed` is what `words` give, where they are a whole command."""
    try:
        return run_one([], run_dir, lambda: resume_job(words, composed, run_dir, stop=stop), field="resume")
    except Interrupted:
        message = f"interrupted before a further step; go on by: {shlex.join([PROGRAM, *words])}"
        return complain(PROGRAM, Outcome(INTERRUPTED, message=message))


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


def sweep(line: CommandLine, *, stop: StopRequest) -> int:
    """Every combination in its own folder, one after the other, then one table."""
    plan = Sweep(line.words)
    for words in plan.jobs:
        line.load(TrainConfig, words)
    folder = Path(line.compose(plan.fixed).hydra.sweep.dir)
    refuse_used_sweep(folder)
    make_folder(folder, field="hydra.sweep.dir")

    def task(composed: DictConfig) -> float:
        config, run_dir = line.check(TrainConfig, composed), output_dir()
        with RunLock(run_dir, field="hydra.sweep.dir", say=warn):
            outcome = plan.run_job(PROGRAM, run_dir, lambda: fresh_job(config, run_dir, stop=stop))
        if outcome.exit_code == INTERRUPTED:
            raise Interrupted
        return outcome.score

    try:
        run_hydra("train", [*line.argv, f"hydra.sweep.dir={literally(folder)}"], task)
    except Interrupted:
        return complain(PROGRAM, Outcome(INTERRUPTED, message="the sweep is interrupted; jobs that are done stay done"))
    finally:
        print(plan.finish(folder), flush=True)
    return plan.exit_code


def fresh_job(config: TrainConfig, run_dir: Path, *, stop: StopRequest) -> Outcome:
    """Start a run in `run_dir`. Torch is imported here, so that --help need not wait for it."""
    refuse_used_folder(run_dir)
    with stop.finishing():  # an exception in the midst of torch's own start-up would abort the process
        from byol_cli.cli import session
    stop.check()
    return session.start(config, run_dir, stop=stop)


def resume_job(words: Sequence[str], composed: TrainConfig | None, run_dir: Path, *, stop: StopRequest) -> Outcome:
    """Go on with a run. Torch is imported here."""
    with stop.finishing():
        from byol_cli.cli import session
    stop.check()

    def asked(stored: TrainConfig) -> TrainConfig:
        refuse_what_is_not_named_again(stored, words)
        return asked_config(stored, words, composed=composed)

    return session.go_on(run_dir, asked=asked, force=is_forced(words), stop=stop)


def warn(text: str) -> None:
    """Print beside the output."""
    print(text, file=sys.stderr, flush=True)
