"""What fails leaves no empty folder behind."""

import os
from pathlib import Path


class MissingFolders:
    """Remembers which folders on the way to `path` are not there yet, to remove them again while they are empty."""

    def __init__(self, path: Path) -> None:
        """Look before anything is made."""
        path = path.absolute()
        self.folders = [folder for folder in (path, *path.parents) if not folder.exists()]

    def remove_empty(self) -> None:
        """Remove them from the innermost outwards, up to the first that holds something."""
        for folder in self.folders:
            if os.path.isdir(folder):  # false too for a name that is too long
                if any(folder.iterdir()):
                    return
                folder.rmdir()
