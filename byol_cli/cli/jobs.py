"""What a job of `byol-train` does, in its folder. Torch is imported late, where there is something to do."""

from collections.abc import Sequence
from pathlib import Path

from byol_cli.cli.command import DONE, Outcome, say
from byol_cli.cli.folders import holds_run, refuse_used_folder, summary_if_done
from byol_cli.cli.job_folder import finished_before
from byol_cli.cli.named_again import refuse_what_is_not_named_again
from byol_cli.cli.resume import (
    asked_config,
    checked_config,
    chooses_groups,
    config_in,
    is_forced,
)
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.evaluation import EvaluationConfig
from byol_cli.training.interrupt import StopRequest
from byol_cli.training.ranks import from_first


def fresh_job(config: TrainConfig, run_dir: Path, *, stop: StopRequest) -> Outcome:
    """Start a run in `run_dir`."""
    from_first(lambda: refuse_used_folder(run_dir))
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
    """Go on with the run in `run_dir`, where there is something left to do."""
    force = is_forced(words)

    def asked(stored: TrainConfig) -> TrainConfig:
        config = asked_config(stored, words, composed=composed, evaluation=evaluation)
        whole = chooses_groups(words)
        return checked_config(stored, config, source=f"resume={run_dir}", whole=whole, force=force, say=say)

    def asked_and_named(stored: TrainConfig) -> TrainConfig:
        if composed is None:
            refuse_what_is_not_named_again(stored, words)
        return asked(stored)

    if from_first(lambda: summary_if_done(run_dir)) and not force:
        asked(from_first(lambda: config_in(run_dir)))
        say(f"the run in {run_dir} is done; there is nothing left to do")
        return Outcome(DONE)
    with stop.finishing():
        from byol_cli.cli import session
    stop.check()
    return session.go_on(run_dir, asked=asked_and_named, force=force, stop=stop)


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
