"""Checkpoints on disk: each is written whole or not at all, beside the loop, and some are kept.

One file a saved step, `step_00001200.pt`; `last.pt` and `best.pt` are further names of two of them. The SHA-256 of each
lies beside it, in a file that is written first, so that a half-written checkpoint never passes for a good one.
"""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from byol_cli.training.digests import digest_file, sha256_of

LAST, BEST = "last.pt", "best.pt"
_STEP_FILE = re.compile(r"step_(\d+)\.pt")
_UNFINISHED = ".writing"
_DAMAGED = ".damaged"


class CheckpointFolder:
    """The checkpoints of one run; only the process that holds the run's lock writes here."""

    def __init__(self, folder: Path, *, keep_last: int, keep_every: int | None) -> None:
        """Keep for good those of steps that are multiples of `keep_every`, and of the others the newest `keep_last`."""
        self.folder = folder
        self._keep_last, self._keep_every = keep_last, keep_every
        self._digests: dict[str, str] = {}  # of the files that have these names now

    def begin(self, *, start_step: int) -> None:
        """Clear away what was cut off in writing, and set aside the damaged files of steps that are taken again.

        A run goes on from its newest good checkpoint, so that those after it are damaged.
        """
        for cut_off in self.folder.glob(f"*{_UNFINISHED}"):
            cut_off.unlink()
        for step, path in step_files(self.folder):
            if step > start_step:
                path.rename(path.with_name(f"{path.name}{_DAMAGED}"))
        for digests in self.folder.glob("step_*.pt.sha256"):
            if not digests.with_suffix("").exists():
                digests.unlink()
        self._remove_old()
        self._digests = {name: sha256_of(self.folder / name) for name in (LAST, BEST) if (self.folder / name).is_file()}

    def write(self, checkpoint: dict[str, Any], *, best: bool) -> None:
        """Write the file of its step; each name is at all times absent, the old file or the new one.

        The step's own name comes last: a run that dies before goes on from the step file before, and repeats this one.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{checkpoint['step']:08d}.pt"
        unfinished = path.with_name(f"{path.name}{_UNFINISHED}")
        try:
            _write_synced(unfinished, checkpoint)
            digest = sha256_of(unfinished)
            for name in [*([BEST] if best else []), LAST]:
                self._publish(_another_name(unfinished, self.folder / f"{name}{_UNFINISHED}"), name, digest)
            self._publish(unfinished, path.name, digest)
        finally:
            with suppress(OSError):  # on a mount that has vanished nothing can be removed either
                unfinished.unlink(missing_ok=True)
        with suppress(OSError):  # the checkpoint is there; the next save syncs and removes again, or tells why not
            _sync_folder(self.folder)
            self._remove_old()

    def _publish(self, unfinished: Path, name: str, digest: str) -> None:
        """Give a whole file its name, its digest first; for a crash in between that of the file before is listed."""
        before = self._digests.get(name)
        digests = digest_file(self.folder / name)
        draft = digests.with_name(f"{digests.name}{_UNFINISHED}")
        with draft.open("w") as file:
            file.writelines(f"{listed}  {name}\n" for listed in [digest, *([before] if before else [])])
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, digests)
        os.replace(unfinished, self.folder / name)
        self._digests[name] = digest

    def _remove_old(self) -> None:
        every = self._keep_every
        passing = [path for step, path in step_files(self.folder) if every is None or step % every]
        for path in passing[self._keep_last :]:
            path.unlink()
            digest_file(path).unlink(missing_ok=True)
            self._digests.pop(path.name, None)


def step_files(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints by step, newest first."""
    matches = [(_STEP_FILE.fullmatch(path.name), path) for path in folder.glob("step_*.pt")]
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)


def _write_synced(path: Path, checkpoint: dict[str, Any]) -> None:
    try:
        with path.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:  # torch's word for a write that failed while it closed the archive
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _another_name(path: Path, other: Path) -> Path:
    """Make `other` the same file as `path`; a copy where the file system has no such names."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
    return other


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BackgroundWriter:
    """Writes in a thread, one checkpoint at a time, while training goes on."""

    def __init__(self) -> None:
        """The thread starts with the first checkpoint."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._writing is not None and not self._writing.done()

    def start(self, write: Callable[[], None]) -> None:
        """Run `write` in the thread; the one before must have been waited for."""
        self._writing = self._pool.submit(write)

    def wait(self) -> OSError | None:
        """Wait for the checkpoint that is being written; why it could not be, or None."""
        if self._writing is None:
            return None
        error = self._writing.exception()
        self._writing = None
        if error is not None and not isinstance(error, OSError):
            raise error
        return error

    def close(self) -> None:
        """Wait for what is being written; there is nothing more to write."""
        self._pool.shutdown()


def snapshot(values: Any) -> Any:
    """`values`, nested dicts and lists, with every tensor copied to the CPU, so that training can go on changing it."""
    if isinstance(values, Tensor):
        return values.detach().to("cpu", copy=True)
    if isinstance(values, dict):
        return {name: snapshot(value) for name, value in values.items()}
    return [snapshot(value) for value in values] if isinstance(values, (list, tuple)) else values


def all_finite(values: Sequence[Tensor]) -> bool:
    """Whether every number in the floating-point tensors is finite; waits for the device once.

    Adam counts its steps on the CPU, wherever the weights are.
    """
    by_device: dict[torch.device, list[Tensor]] = defaultdict(list)
    for tensor in values:
        if tensor.is_floating_point() and tensor.numel():
            by_device[tensor.device].append(tensor)
    largest = (torch.stack(torch._foreach_norm(alike, ord=float("inf"))) for alike in by_device.values())
    return all(bool(values.isfinite().all()) for values in largest)
