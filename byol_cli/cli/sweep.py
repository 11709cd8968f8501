"""`byol-train -m`: every job in its own folder, one table, sweep.csv and sweep.html at the end.

A folder that holds the sweep already is gone on with: what is finished is left alone.
"""

import shlex
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from byol_cli.cli.command import FAULT, INTERRUPTED, CommandLine, Outcome, complain, run_hydra, say, warn
from byol_cli.cli.compose import literally, one_line
from byol_cli.cli.folders import RunLock, make_folder, refuse_run_for_sweep
from byol_cli.cli.launchers import AGAIN, close, usual_words
from byol_cli.cli.stopping import stopping_jobs
from byol_cli.cli.sweep_job import Job, SweepTask
from byol_cli.cli.sweep_plan import SweepPlan, fixed_words
from byol_cli.cli.sweep_table import csv_of, ends_of, exit_code_of, table_of
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.training.files import tolerated, write_whole
from byol_cli.training.interrupt import Interrupted, StopRequest


def sweep(program: str, line: CommandLine, job: Job, *, stop: StopRequest) -> int:
    """Run `job` for every combination; returns the exit code.

    Raises:
        InputError: a combination is wrong, and nothing is run; or the folder cannot be used.
    """
    composed = line.compose(fixed_words(line.words))
    hydra = composed.hydra
    draws = hydra.runtime.choices["hydra/sweeper"] != "basic"
    plan = SweepPlan(line.words, params=hydra.sweeper.get("params") or {}, draws=draws)
    for words in plan.to_check():
        config = line.load(TrainConfig, words)
    folder = Path(hydra.sweep.dir)
    refuse_run_for_sweep(folder)
    make_folder(folder, field="hydra.sweep.dir")
    more = usual_words(hydra, line.words, seed=config.seed, on_cpu=config.trainer.device == "cpu")
    task = SweepTask(program=program, job=job, plan=plan, working_dir=Path.cwd(), stop=stop)
    launcher = hydra.runtime.choices["hydra/launcher"]
    with RunLock(folder, field="hydra.sweep.dir", say=warn):
        words = [*more, f"hydra.sweep.dir={literally(folder.absolute())}"]
        return _run_jobs(task, [*line.argv, *words], folder, launcher=launcher)


def _run_jobs(task: SweepTask, argv: list[str], folder: Path, *, launcher: str) -> int:
    """The jobs below `folder`, which no other sweep writes in."""
    launched = launcher != "basic"
    together: AbstractContextManager[None] = stopping_jobs(folder, task.stop) if launched else nullcontext()
    trouble = None
    try:
        with together:
            _launch(task, argv, folder, again=launcher in AGAIN)
        task.stop.check()
    except Interrupted:
        again = shlex.quote(f"hydra.sweep.dir={folder}")
        trouble = Outcome(INTERRUPTED, message=f"the sweep is interrupted; the same command with {again} goes on")
    except OSError as error:  # a job's folder cannot be made
        trouble = Outcome(FAULT, message=f"the sweep ends at {error.filename}: {error.strerror}")
    except (HydraException, OmegaConfBaseException, InputError):
        raise
    except Exception as error:
        if not launched and not task.plan.draws:
            raise
        # A launcher that lost a process, or a sweeper that got no score at all.
        trouble = Outcome(FAULT, message=f"the sweep ends early: {type(error).__name__}: {one_line(error)[:300]}")
    finally:
        close(launcher)
        ends = ends_of(folder, task.plan.jobs, task.ended)
        with tolerated(folder / "sweep.csv", say=warn):
            write_whole(folder / "sweep.csv", csv_of(ends))
        say("", *table_of(ends).splitlines(), "", f"sweep folder: {folder}")
        _show(folder)
    return exit_code_of(ends) if trouble is None else complain(task.program, trouble)


def _launch(task: SweepTask, argv: list[str], folder: Path, *, again: bool) -> None:
    """Hand over to Hydra; where a process is lost, `again`: what it took along is tried once more, then set aside."""
    lost: Counter[str] = Counter()
    while True:
        aside = frozenset(name for name, times in lost.items() if times > 1)
        try:
            return run_hydra("train", argv, replace(task, aside=aside))
        except (HydraException, OmegaConfBaseException, InputError, OSError):
            raise
        except Exception as error:
            ends = ends_of(folder, task.plan.jobs, task.ended)
            cut_off = {end.name for end in ends if end.status == "unfinished"} - aside
            if not again or not cut_off or task.stop.requested:
                raise
            lost.update(cut_off)
            warn(f"warning: {type(error).__name__}: a process was lost; the jobs that are left are begun again")


def _show(folder: Path) -> None:
    """sweep.html. What draws it is imported here, so that --help need not wait for it."""
    from byol_cli.report.page import write_sweep_report

    say(f"report: {write_sweep_report(folder, say=warn)}")
