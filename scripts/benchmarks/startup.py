"""From the start of `byol-train` to its first optimiser step, beside the import of torch: seconds."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.options import Options
from benchmarks.report import Row, Table

IMPORT = "import torch, torchvision; print(flush=True)"
POLL_SECONDS = 0.005


def tables(options: Options) -> Iterator[Table]:
    """The default run and the bare import, by turns; the first of each fills the file system's cache."""
    imports, starts = [], []
    for _ in range(options.rounds + 1):
        imports.append(seconds_to_import())
        starts.append(seconds_to_first_step())
    imports, starts = imports[1:], starts[1:]
    yield Table(
        key="startup",
        title="from the start of the process",
        unit="seconds",
        rows=[
            Row(key="first_step_seconds", title="byol-train, to the first optimiser step", values=starts),
            Row(key="import_seconds", title="floor: import torch, torchvision", values=imports),
            Row(
                key="on_top_seconds",
                title="byol-train on top of importing",
                values=[start - floor for start, floor in zip(starts, imports, strict=True)],
            ),
        ],
    )


def seconds_to_import() -> float:
    """Until Python has torch and torchvision."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", IMPORT], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return time.perf_counter() - began


def seconds_to_first_step() -> float:
    """Until the default run has written its first figures: it reads its gauges after the first step.

    Raises:
        ChildProcessError: it ended before that.
    """
    with TemporaryDirectory() as folder, open(Path(folder) / "printed", "w+") as printed:
        metrics = Path(folder) / "run" / "metrics.jsonl"
        command = [sys.executable, "-m", "byol_cli", f'hydra.run.dir="{metrics.parent}"']
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        try:
            while not (metrics.is_file() and metrics.stat().st_size):
                if process.poll() is not None:
                    printed.seek(0)
                    raise ChildProcessError(f"byol-train: ended before its first step: {printed.read()}")
                time.sleep(POLL_SECONDS)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()
