"""`byol-eval`: measure the backbone in a checkpoint, on its own data set or another one with labels."""

from byol_cli.cli.command import Outcome
from byol_cli.cli.single_job import run_command
from byol_cli.schema.command import EvalConfig
from byol_cli.training.interrupt import StopRequest


def main() -> None:
    """The console script."""
    run_command("byol-eval", EvalConfig, job)


def job(config: EvalConfig, stop: StopRequest) -> Outcome:
    """Measure. Torch is imported here, so that --help need not wait for it."""
    with stop.finishing():  # an exception in the midst of torch's own start-up would abort the process
        from byol_cli.cli.measurement import measure_checkpoint
    stop.check()
    return measure_checkpoint(config, stop=stop)
