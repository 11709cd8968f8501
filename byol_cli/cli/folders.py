"""A refused command leaves no folder behind, and a fresh run never writes into another run's."""

from pathlib import Path

from byol_cli.schema.errors import InputError


class MissingFolders:
    """Remembers which folders on the way to `path` are not there yet, to remove them again while they are empty."""

    def __init__(self, path: Path) -> None:
        """Look before anything is made."""
        path = path.absolute()
        self.folders = [folder for folder in (path, *path.parents) if not folder.exists()]

    def remove_empty(self) -> None:
        """Remove them from the innermost outwards, up to the first that holds something."""
        for folder in self.folders:
            if folder.is_dir():
                if any(folder.iterdir()):
                    return
                folder.rmdir()


def make_folder(path: Path, *, field: str) -> None:
    """Make `path`; raises InputError, naming `field`, where that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{field}={path} cannot be made: {error.strerror}") from None


def refuse_used_sweep(folder: Path) -> None:
    """Refuse a folder that holds a sweep already; raises InputError."""
    if (folder / "sweep.csv").exists() or any(folder.glob("*/config.yaml")):
        raise InputError(f"hydra.sweep.dir={folder} holds a sweep already")


def refuse_used_folder(run_dir: Path) -> None:
    """Refuse a folder that holds a run already; raises InputError."""
    if (run_dir / "config.yaml").exists():
        raise InputError(f"hydra.run.dir={run_dir} holds a run already; resume={run_dir} goes on with it")
