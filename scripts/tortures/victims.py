"""A run of byol-train in a process of its own, which is struck down at a chosen moment."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from processes import ENDED, catches, descendants, is_alive, state

from byol_cli.cli.command import DONE, INTERRUPTED
from byol_cli.cli.folders import holds_run
from byol_cli.schema.load import quoted
from byol_cli.training.checkpoint_search import FOLDER, newest_good
from byol_cli.training.recorder import read_json, read_metrics

NAMED_AGAIN = ("backbone.factory=", "dataset.cache_dir=")
POLL_SECONDS = 0.0002
SECONDS_TO_END = 60.0
MOST_WRITES_PASSED = 15
SHORTEST_WRITE = 0.002  # seconds


class Process(Protocol):
    """What is used of subprocess.Popen."""

    @property
    def pid(self) -> int:
        """Of the process."""

    @property
    def returncode(self) -> int | None:
        """Minus the signal's number where one ended it, None before its end was looked at."""

    def poll(self) -> int | None:
        """Look; returns the same."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""

    def send_signal(self, number: int, /) -> None:
        """Where it has not ended."""

    def kill(self) -> None:
        """By SIGKILL."""


Launch = Callable[[Sequence[str], Path], Process]
"""Starts `byol-train` with these words; what it prints is added to the file."""


def python_process(words: Sequence[str], printed: Path) -> Process:
    """As a person would start it."""
    with printed.open("ab") as file:
        return subprocess.Popen([sys.executable, "-m", "byol_cli", *words], stdout=file, stderr=subprocess.STDOUT)


class Victim:
    """The run in `run_dir` with the overrides `words`; what it prints goes into a file beside the folder."""

    def __init__(self, run_dir: Path, words: Sequence[str], *, launch: Launch) -> None:
        """Nothing is started yet."""
        self.run_dir, self.words, self._launch = run_dir, words, launch
        self.checkpoints = run_dir / FOLDER
        self.printed = run_dir.with_name(f"{run_dir.name}.log")
        self._process: Process | None = None
        self._left_before: set[tuple[str, int, int]] = set()

    @property
    def process(self) -> Process:
        """The one that was started last."""
        assert self._process is not None
        return self._process

    def start(self) -> bool:
        """Begin the run, or go on with it where it has begun; returns whether it goes on."""
        goes_on = holds_run(self.run_dir)
        if goes_on:
            words = [word for word in self.words if word.startswith(NAMED_AGAIN)] + [f"resume={quoted(self.run_dir)}"]
        else:
            words = [*self.words, f"hydra.run.dir={quoted(self.run_dir)}"]
        self._left_before = self._unfinished()
        self._process = self._launch(words, self.printed)
        return goes_on

    def run_to_end(self) -> None:
        """Wait for the end of the started process.

        Raises:
            ChildProcessError: it did not end well.
        """
        if self.process.wait() != DONE:
            raise ChildProcessError(
                f"{self.run_dir.name} ended with exit code {self.process.returncode}: {self.tail()}"
            )

    def seconds_to_first_checkpoint(self) -> float:
        """From now on; the process may end before that."""
        began = time.monotonic()
        while self.process.poll() is None and not any(self.checkpoints.glob("step_*.pt")):
            time.sleep(0.01)
        return time.monotonic() - began

    def is_done(self) -> bool:
        """Whether the run has come to its end."""
        return (read_json(self.run_dir / "summary.json") or {}).get("status") == "done"

    def wait(self, seconds: float) -> bool:
        """Let it work; returns whether it lives on."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def halt_in_write(self, rng: random.Random) -> bool:
        """Stop it, to go on or to be killed, while it writes one of its next checkpoints; False where it ended first.

        Whether it does so is looked at when it stands still, so that there is no doubt.
        """
        passed, length = rng.randint(0, MOST_WRITES_PASSED), SHORTEST_WRITE
        while self.process.poll() is None:
            if not self.is_writing():
                time.sleep(POLL_SECONDS)
            elif passed:
                began, passed = time.monotonic(), passed - 1
                while self.is_writing() and self.process.poll() is None:
                    time.sleep(POLL_SECONDS)
                length = time.monotonic() - began
            else:
                time.sleep(rng.uniform(0, length))
                self.process.send_signal(signal.SIGSTOP)
                while state(self.process.pid) not in ("T", *ENDED):
                    time.sleep(POLL_SECONDS)
                if self.is_writing():
                    return True
                self.process.send_signal(signal.SIGCONT)
        return False

    def is_writing(self) -> bool:
        """Whether there is a half-written file that was not there when the process was started."""
        return bool(self._unfinished() - self._left_before)

    def strike(self, number: signal.Signals) -> list[str]:
        """Send the signal and wait for the end; returns what is not as it should be.

        All but SIGKILL are sent when the process has handlers for them: before that Python itself is still starting.
        """
        while (
            number != signal.SIGKILL and self.process.poll() is None and not catches(self.process.pid, signal.SIGTERM)
        ):
            time.sleep(0.01)
        workers = descendants(self.process.pid)
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)
        if self.wait(SECONDS_TO_END):
            self.process.kill()
            return [f"{number.name} does not end it within {SECONDS_TO_END:g} s"]
        faults, code = [], self.process.returncode
        if number != signal.SIGKILL and code != INTERRUPTED and not (code == DONE and self.is_done()):
            faults.append(f"{number.name} ends it with exit code {code}: {self.tail()}")
        deadline = time.monotonic() + SECONDS_TO_END
        while any(map(is_alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return faults + [f"its process {worker} lives on" for worker in workers if is_alive(worker)]

    def newest_step(self) -> int | None:
        """The step that it would go on from, None where it has come to no checkpoint; raises InputError."""
        found = newest_good(self.run_dir, field="resume", say=print)
        return found and found[1]["step"]

    def unsound(self) -> list[str]:
        """The checkpoints that are not what the file beside them says."""
        faults = []
        for path in self.checkpoints.glob("*.pt"):
            digests = path.with_name(f"{path.name}.sha256")
            listed = digests.read_text().split() if digests.is_file() else []
            if hashlib.sha256(path.read_bytes()).hexdigest() not in listed:
                faults.append(f"{path.name} does not fit {digests.name}")
        faults += [f"{path.name} was set aside" for path in self.checkpoints.glob("*.damaged")]
        return faults

    def record(self) -> tuple[int, int]:
        """Changes whenever metrics.jsonl does."""
        path = self.run_dir / "metrics.jsonl"
        facts = path.stat() if path.is_file() else None
        return (facts.st_ino, facts.st_mtime_ns) if facts else (0, 0)

    def recorded_step(self) -> int:
        """The last that is in metrics.jsonl, 0 where there is none; raises InputError."""
        return max((row["step"] for row in read_metrics(self.run_dir / "metrics.jsonl")), default=0)

    def tail(self) -> str:
        """The last line that it printed."""
        return (self.printed.read_text(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]

    def _unfinished(self) -> set[tuple[str, int, int]]:
        found = set()
        if self.checkpoints.is_dir():
            for entry in os.scandir(self.checkpoints):
                if entry.name.endswith(".writing"):
                    try:
                        facts = entry.stat()
                    except FileNotFoundError:  # it is whole by now
                        continue
                    found.add((entry.name, facts.st_ino, facts.st_mtime_ns))
        return found
