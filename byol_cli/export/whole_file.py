"""Files that other tools read are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from byol_cli.schema.errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a draft's path; when all went well the draft is synced and becomes `path`, otherwise it is removed.

    Raises:
        InputError: the draft cannot be written.
    """
    draft = path.with_name(f"{path.name}.writing")
    try:
        draft.touch()  # tells in plain words where no file can be
        yield draft
        with draft.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"output={path} cannot be written: {getattr(error, 'strerror', None) or error}") from None
    finally:
        draft.unlink(missing_ok=True)


def refuse_existing(*paths: Path, overwrite: bool) -> None:
    """Nothing is replaced unasked; raises InputError for a file that is there already, or a folder of that name."""
    for path in paths:
        if path.is_dir():
            raise InputError(f"output={path} is a folder; name a file")
        if path.exists() and not overwrite:
            raise InputError(f"output={path} is there already; overwrite=true replaces it")


def make_folder(folder: Path, *, output: Path) -> None:
    """Make a folder that `output` needs; raises InputError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output={output}: the folder {folder} cannot be made: {error.strerror}") from None


def beside(path: Path, ending: str) -> Path:
    """A further file of the same stem: features.npz and `neighbors.csv` give features.neighbors.csv."""
    return path.with_name(f"{path.stem}.{ending}")
