"""One run from its configuration to its figures. Imported late: torch comes with it."""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from byol_cli.cli.command import DONE, INTERRUPTED, Outcome, say
from byol_cli.cli.folders import UnfitRun
from byol_cli.cli.named_again import resume_command
from byol_cli.cli.results_file import ResultsFile, facts_of_results, newest_file
from byol_cli.cli.resume import config_in, stored_config
from byol_cli.cli.run_files import facts_of_fault, write_config, write_folder_file
from byol_cli.cli.showing import show
from byol_cli.evaluation.evaluator import Evaluator, Subject
from byol_cli.evaluation.looks import pairs_by, reading_by
from byol_cli.evaluation.probe import OnlineProbe
from byol_cli.report.page import write_report
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError, TrainingFault
from byol_cli.training.checkpoint_reading import UnreadableCheckpoint
from byol_cli.training.checkpoint_search import newest_good
from byol_cli.training.digests import sha256_of
from byol_cli.training.estimate import plan_of
from byol_cli.training.files import tolerated
from byol_cli.training.interrupt import Interrupted, StopRequest
from byol_cli.training.machine import differences, versions
from byol_cli.training.memory import memory_faults
from byol_cli.training.outside import OutsideRecorders, refuse_missing_recorders
from byol_cli.training.pretrain import TrainingResult, pretrain
from byol_cli.training.ranks import (
    any_of_us,
    end_after_first,
    first_of_each_machine_before_others,
    from_first,
    is_first,
    lost_ranks,
)
from byol_cli.training.recorder import write_json
from byol_cli.training.setup import MEASURED_AT_ONCE, Run, prepare

NOTHING_YET = TrainingResult(images_per_second=None, selection_score=None)


def start(config: TrainConfig, run_dir: Path, *, stop: StopRequest) -> Outcome:
    """A fresh run in `run_dir`."""
    with memory_faults(config.trainer):
        run = first_of_each_machine_before_others(lambda: prepare(config, say=say))
    return run_to_end(run, run_dir, stop=stop)


def go_on(run_dir: Path, *, asked: Callable[[TrainConfig], TrainConfig], force: bool, stop: StopRequest) -> Outcome:
    """Go on with the run in `run_dir` from its newest good checkpoint, or from step 0 where it had come to none.

    Args:
        run_dir: of the run.
        asked: makes of the stored configuration the one that is wanted now, or refuses.
        force: go on although the run will not be the same.
        stop: takes the signals.

    Raises:
        UnfitRun: this would be another run, or nothing in the folder can be gone on from.
        InputError: it could be gone on with, but not as things are here and now.
    """
    try:
        run, before = reopened(run_dir, asked=asked, force=force)
    except UnreadableCheckpoint:
        raise
    except InputError as error:
        raise UnfitRun(str(error)) from None
    if before:
        compare_machines(before, run, force=force)
    say(f"going on from step {run.state.step:,} of {run.plan.total_steps:,}")
    return run_to_end(run, run_dir, stop=stop)


def reopened(run_dir: Path, *, asked: Callable[[TrainConfig], TrainConfig], force: bool) -> tuple[Run, dict[str, str]]:
    """The run in `run_dir`, ready to go on as `asked`, and the `versions` it was saved with; raises InputError."""
    found = from_first(lambda: newest_good(run_dir, field="resume", say=say))
    path, checkpoint = found or (run_dir, None)
    stored = stored_config(checkpoint["config"]) if checkpoint else from_first(lambda: config_in(run_dir))
    config = asked(stored)

    def ready() -> Run:
        with memory_faults(config.trainer):
            return prepare(config, say=say, checkpoint=checkpoint, source=str(path), force=force)

    run = first_of_each_machine_before_others(ready)
    if run.state.step > run.plan.total_steps:
        raise InputError(f"{path} is of step {run.state.step}, past this run's end at {run.plan.total_steps}")
    return run, checkpoint["versions"] if checkpoint else {}


def compare_machines(before: dict[str, str], run: Run, *, force: bool) -> None:
    """Tell what will make the bits differ from those of a run that was never interrupted.

    Raises:
        InputError: another precision, which is more than a matter of bits.
    """
    precision = before.get("precision")
    if precision != run.runtime.precision and not force:
        raise InputError(
            f"trainer.precision={run.config.trainer.precision} means {run.runtime.precision} here, the run began with "
            f"{precision}: trainer.precision={precision} keeps to it, resume_force=true goes on all the same"
        )
    changed = differences(before, versions(run.runtime))
    if changed:
        say(f"note: not to the bit the run that was never interrupted: {'; '.join(changed)}")


def run_to_end(run: Run, run_dir: Path, *, stop: StopRequest) -> Outcome:
    """Train, measure, write summary.json, and print what was reached and where it lies."""
    began = time.monotonic()
    refuse_missing_recorders(run.config.trainer.recorders)
    say(*run.header().splitlines())
    result, measured_by = NOTHING_YET, evaluator(run)
    if run.config.trainer.plan:
        return say_plan(run)
    from_first(lambda: write_config(run, run_dir))
    outside = OutsideRecorders(run.config, run_dir, say=say)

    def summary(status: str, **more: Any) -> None:
        values = {
            "status": status,
            "steps": run.state.step,
            "epochs": run.state.step / run.plan.steps_per_epoch,
            "images_per_second": result.images_per_second,
            "selection_score": result.selection_score,
            **more,
            "seconds": time.monotonic() - began,
        }
        outside.finish(values)
        write_json(run_dir / "summary.json", values)

    def unfinished(status: str, **more: Any) -> None:
        with tolerated(run_dir / "summary.json", say=say):
            summary(status, **more)
        write_report(run_dir, gallery=None, say=say, facts=run.facts())

    def measured() -> Outcome:
        record = ResultsFile(run_dir, facts=facts_of(run, run_dir), stop=stop, say=say)
        report = measured_by.report(what, record=record)
        say("", *report.table().splitlines(), "", f"run folder: {run_dir}")
        write_folder_file(lambda: summary("done", **report.summary()))
        with stop.finishing():  # there is nothing left to interrupt
            show(
                run_dir,
                measured_by,
                what.trained,
                dataset=run.config.dataset,
                step=run.state.step,
                mean=run.mean,
                std=run.std,
                tsne=False,
                facts=run.facts(),
            )
        return Outcome(DONE, score=math.nan if result.selection_score is None else result.selection_score)

    try:
        with memory_faults(run.config.trainer), lost_ranks():
            result = pretrain(run, run_dir, probe=online_probe(run), stop=stop, outside=outside)
            if any(any_of_us(stop.requested)):
                raise Interrupted
            what = subject(run)
            measured_by.look_together(what)
            return from_first(measured)
    except (TrainingFault, InputError) as fault:
        end_after_first(fault, partial(unfinished, "stopped", **facts_of_fault(fault)))
        raise
    except Interrupted:
        if is_first():
            unfinished("interrupted")
        where = f"and saved at step {run.state.step:,}" if run.state.step else "before the first step"
        message = f"interrupted {where}; go on by: {resume_command(run_dir, run.config)}"
        return Outcome(INTERRUPTED, message=message if is_first() else "")


def say_plan(run: Run) -> Outcome:
    """What the run would take; nothing is trained, and nothing is left behind."""
    facts = plan_of(run, price_per_hour=run.config.trainer.price_per_hour)
    say(*(f"{name + ':':<15}{text}" for name, text in facts.items()))
    return Outcome(DONE)


def online_probe(run: Run) -> OnlineProbe:
    """What is measured while the run goes on."""
    trainer = run.config.trainer
    return OnlineProbe(
        splits=run.splits,
        batches=run.evaluation_batches,
        runtime=run.runtime,
        max_images=trainer.probe_max_images,
        neighbors=trainer.probe_neighbors,
        temperature=trainer.probe_temperature,
    )


def evaluator(run: Run) -> Evaluator:
    """What is measured at the end; raises InputError where that needs labels and there are none."""
    config, trainer = run.config, run.config.trainer
    at_once = min(MEASURED_AT_ONCE, run.micro_batch_size)
    how: dict[str, Any] = {
        "num_workers": run.num_workers,
        "timeout_seconds": trainer.worker_timeout_seconds,
        "bad_images": run.bad_images,
        "device": run.runtime.device,
        "mean": run.mean,
        "std": run.std,
    }
    return Evaluator(
        splits=run.splits,
        config=config.evaluation,
        runtime=run.runtime,
        reading=reading_by(config.augmentation, seed=config.seed, batch_size=at_once, **how),
        pairs=pairs_by(config.augmentation, seed=config.seed, batch_size=max(1, at_once // 2), **how),
        seed=config.seed,
        say=say,
    )


def subject(run: Run) -> Subject:
    """The run's backbone, and how others of random weights are made."""
    return Subject(
        trained=run.state.online.backbone,
        untrained=run.untrained_backbone(),
        make_backbone=run.make_backbone,
        epochs=max(1, round(run.state.step / run.plan.steps_per_epoch)),
    )


def facts_of(run: Run, run_dir: Path) -> dict[str, Any]:
    """What a line of evaluations.jsonl tells of this run besides figures."""
    checkpoint = newest_file(run_dir)
    return facts_of_results(
        command="byol-train",
        splits=run.splits,
        dataset=run.config.dataset,
        trained_by=run.config,
        checkpoint=checkpoint,
        checkpoint_sha256=None if checkpoint is None else sha256_of(checkpoint),
        folder=run_dir,
        step=run.state.step,
        seed=run.config.seed,
        runtime=run.runtime,
    )
