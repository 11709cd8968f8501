"""`byol-embed`: the features of every image of a data set, in a file for other tools."""

from byol_cli.cli.command import Outcome
from byol_cli.cli.single_job import run_command
from byol_cli.schema.export import EmbedConfig
from byol_cli.training.interrupt import StopRequest


def main() -> None:
    """The console script."""
    run_command("byol-embed", EmbedConfig, job)


def job(config: EmbedConfig, stop: StopRequest) -> Outcome:
    """Embed. Torch is imported here, so that --help need not wait for it."""
    with stop.finishing():  # an exception in the midst of torch's own start-up would abort the process
        from byol_cli.cli.embedding import embed_images
    stop.check()
    return embed_images(config, stop=stop)
