"""Which checkpoint a run folder means: the newest one that is good."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from byol_cli.schema.errors import InputError
from byol_cli.training.checkpoint_reading import UnreadableCheckpoint, read_checkpoint
from byol_cli.training.checkpoint_writing import LAST, step_files

FOLDER = "checkpoints"


def open_checkpoint(path: Path, *, field: str, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that `path` means, and its file: `path` itself, or the newest good one of a run folder.

    Args:
        path: a file or a run folder.
        field: what the user called it, for messages.
        say: is told of damaged files that were passed over.

    Raises:
        InputError: there is none, or none that is good.
    """
    if path.is_file():
        return path, read_checkpoint(path, field=field)
    found = newest_good(path, field=field, say=say)
    if found is None:
        jobs = sorted(config.parent for config in path.glob("*/config.yaml"))
        if jobs:
            raise InputError(f"{field}={path} is the folder of several runs; name one of them, such as {jobs[0]}")
        raise InputError(f"{field}={path}: neither a checkpoint file nor a run folder with {FOLDER}/{LAST} in it")
    return found


def newest_good(run_dir: Path, *, field: str, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest good checkpoint of a run and its file, or None where the run has come to none yet.

    Raises:
        InputError: there are some, and each is damaged.
        UnreadableCheckpoint: the newest may be whole, but cannot be read now.
    """
    refused: list[InputError] = []
    for path in _newest_first(run_dir / FOLDER):
        try:
            checkpoint = read_checkpoint(path, field=field)
        except UnreadableCheckpoint as error:
            raise UnreadableCheckpoint(f"{error}; to go on from the one before all the same, move it away") from None
        except InputError as error:
            refused.append(error)
            continue
        for refusal in refused:
            say(f"warning: {refusal}")
        if refused:
            say(f"warning: the checkpoint before it is used, {path} of step {checkpoint['step']:,}")
        return path, checkpoint
    if refused:
        raise InputError(f"{refused[0]}; no other checkpoint in {run_dir / FOLDER} is good")
    return None


def _newest_first(folder: Path) -> Iterator[Path]:
    """Those with a step in their name; last.pt where it is none of these, as in a folder that was copied in part."""
    steps = [path for _, path in step_files(folder)]
    yield from steps
    last = folder / LAST
    if last.is_file() and not any(path.exists() and path.samefile(last) for path in steps):
        yield last
