"""`byol-export`: the backbone of a checkpoint as a file for other libraries."""

from pathlib import Path

from byol_cli.cli.command import DONE, Outcome
from byol_cli.cli.single_job import run_command
from byol_cli.schema.export import ExportConfig
from byol_cli.training.interrupt import StopRequest


def main() -> None:
    """The console script."""
    run_command("byol-export", ExportConfig, job)


def job(config: ExportConfig, stop: StopRequest) -> Outcome:
    """Write the file and its card. Torch is imported here, so that --help need not wait for it."""
    with stop.finishing():  # an exception in the midst of torch's own start-up would abort the process
        from byol_cli.cli.command import say
        from byol_cli.export.formats import export, usual_path
        from byol_cli.export.trained import open_trained
    stop.check()
    trained = open_trained(
        Path(config.checkpoint),
        field="checkpoint",
        factory=config.backbone_factory,
        factory_field="backbone_factory",
        say=say,
    )
    path = usual_path(trained, config.format) if config.output is None else Path(config.output)
    card_path = export(trained, config.format, path, overwrite=config.overwrite)
    say(f"checkpoint: {trained.path}, step {trained.step:,} of a run on {trained.config.dataset.name}")
    say(f"weights:    {path} ({path.stat().st_size / 1e6:,.1f} MB)")
    say(f"model card: {card_path}")
    return Outcome(DONE)
