"""Signals to real processes, wherever they happen to be: saved, told how to go on, exit code 75.

All but one process are forked from one that has imported everything, which spares four seconds each.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol_cli.training.checkpoint_search import newest_good

SERVER = """
import json, os, sys, time
sys.path[:] = map(os.path.abspath, sys.path)
import byol_cli.cli.session
from byol_cli.cli.train import main
while line := sys.stdin.readline():
    job = json.loads(line)
    if not (pid := os.fork()):
        break
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else:
    sys.exit()
os.setsid()
os.chdir(job["folder"])
for descriptor, name in enumerate((os.devnull, "out", "err")):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
sys.argv = ["byol-train", *job["words"]]

def mark(name, *, sleep=0.0):
    with open("marks", "a") as file:
        file.write(name + "\\n")
    time.sleep(sleep)

exec(job["patch"])
main()
"""
STEPS = """
from byol_cli.training.console import Progress
advance = Progress.advance
def marked(self, images):
    advance(self, images)
    mark("step", sleep=0.01)
Progress.advance = marked
"""
# A phase that takes long: its name, and what it is replaced by.
SLOW = """
import importlib
module = importlib.import_module({module!r})
owner = getattr(module, {owner!r}) if {owner!r} else module
real = getattr(owner, {name!r})
def slow(*arguments, **named):
    mark("begun", sleep={seconds})
    return real(*arguments, **named)
setattr(owner, {name!r}, slow)
"""


def slow(where: str, *, seconds: float | str) -> str:
    module, owner, name = where.split(":")
    return SLOW.format(module=module, owner=owner, name=name, seconds=seconds)


class Process:
    """`byol-train` in a process of its own."""

    def __init__(self, server: subprocess.Popen[str], folder: Path, words: list[str], patch: str) -> None:
        (folder / "marks").write_text("")
        self.server, self.folder = server, folder
        job = {"folder": str(folder), "words": words, "patch": textwrap.dedent(patch)}
        assert server.stdin and server.stdout  # noqa: PT018
        server.stdin.write(f"{json.dumps(job)}\n")
        server.stdin.flush()
        self.pid, self.ended = int(server.stdout.readline()), False

    def wait_for(self, mark: str, *, times: int = 1) -> None:
        until = time.monotonic() + 30
        while (self.folder / "marks").read_text().split().count(mark) < times:
            assert time.monotonic() < until, (self.folder / "err").read_text()
            time.sleep(0.01)

    def send(self, number: int) -> "Process":
        os.kill(self.pid, number)
        return self

    def code(self) -> int:
        assert self.server.stdout
        self.ended = True
        return int(self.server.stdout.readline())

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    environment, pipe = {**os.environ, "OMP_NUM_THREADS": "1"}, subprocess.PIPE
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as running:
        yield running
        running.communicate()


@pytest.fixture
def start(server: subprocess.Popen[str], tiny: list[str], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def run(*words: str, patch: str = "", steps: int = 200) -> Process:
        settings = [*tiny, f"trainer.steps={steps}", "evaluation=[]", "trainer.gauges_every_steps=1000"]
        resumes = words and words[0].startswith("resume=")
        processes.append(Process(server, tmp_path, [*([] if resumes else settings), *words], patch))
        return processes[-1]

    yield run
    for process in processes:
        if not process.ended:
            with suppress(ProcessLookupError):
                process.send(signal.SIGKILL)
            process.code()


def assert_saved(process: Process, folder: str = "run") -> int:
    """Returns the step that was saved."""
    assert process.code() == 75, process.err
    assert f"; go on by: byol-train resume={folder}\n" in process.err
    assert "Traceback" not in process.err
    assert json.loads((process.folder / folder / "summary.json").read_text())["status"] == "interrupted"
    return step_in(process.folder / folder)


def step_in(run_dir: Path) -> int:
    found = newest_good(run_dir, field="resume", say=pytest.fail)
    return found[1]["step"] if found else 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_each_signal_finishes_the_step_saves_and_ends_with_75(name: str, start: Callable[..., Process]) -> None:
    process = start("hydra.run.dir=run", patch=STEPS)
    process.wait_for("step", times=3)
    step = assert_saved(process.send(getattr(signal, name)))
    assert f"interrupted and saved at step {step}; " in process.err
    assert 3 <= step < 200


NOTHING = "interrupted before the first step, with nothing to save"
AT_ONCE = {
    "the images are looked for": "byol_cli.training.setup::build_splits",
    "the networks are compiled": "byol_cli.training.compilation::_try_out",
    "the images are measured at the end": "byol_cli.evaluation.evaluator:Evaluator:report",
}


@pytest.mark.parametrize("phase", AT_ONCE)
def test_where_nothing_is_in_the_making_it_ends_at_once(phase: str, start: Callable[..., Process]) -> None:
    compiled = ["trainer.compile=true"] if "compiled" in phase else []
    process = start("hydra.run.dir=run", *compiled, patch=slow(AT_ONCE[phase], seconds=60), steps=2)
    process.wait_for("begun")
    began = time.monotonic()
    process.send(signal.SIGTERM)
    if "looked" in phase:
        assert process.code() == 75, process.err
        assert process.err == f"byol-train: {NOTHING}; the same command begins anew\n"
        assert not (process.folder / "run").exists()
        return
    assert assert_saved(process) == (2 if "measured" in phase else 0)
    assert time.monotonic() - began < 20
    if "measured" in phase:
        process = start("resume=run")
        assert process.code() == 0, process.err
        assert json.loads((process.folder / "run" / "summary.json").read_text())["status"] == "done"


IN_THE_MAKING = {
    "the probe": "byol_cli.evaluation.probe:OnlineProbe:__call__",
    "a checkpoint": "byol_cli.training.checkpoint_writing::sha256_of",
}


@pytest.mark.parametrize("phase", IN_THE_MAKING)
def test_what_is_in_the_making_is_finished_first(phase: str, start: Callable[..., Process]) -> None:
    words = ["hydra.run.dir=run", "trainer.checkpoint_every_steps=4", "trainer.batch_size=256"]  # 5 steps an epoch
    process = start(*words, patch=STEPS + slow(IN_THE_MAKING[phase], seconds=0.5))
    process.wait_for("begun")
    assert 4 <= assert_saved(process.send(signal.SIGUSR1)) < 200


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(40):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{number}.bmp")
    sizes = ["augmentation.image_size=32", "augmentation.evaluation_resize=32", "backbone=resnet_small", "head=small"]
    read = ["dataset=image_folder", "dataset.root=photos", "trainer.num_workers=2", "trainer.batch_size=4"]
    return [*read, *sizes, "hydra.run.dir=run"]


def workers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    with suppress(OSError):  # what has died stays in /proc until somebody has asked for its exit code
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_a_signal_to_all_processes_as_by_a_terminal_leaves_no_trace(
    start: Callable[..., Process], photos: list[str]
) -> None:
    process = start(*photos, patch=STEPS)
    process.wait_for("step", times=2)
    workers = workers_of(process.pid)
    assert len(workers) >= 2
    os.killpg(process.pid, signal.SIGINT)
    assert assert_saved(process) >= 2
    assert process.err.count("\n") == 1 + process.err.count("epoch "), process.err
    assert not any(map(is_alive, workers))


def test_a_second_ctrl_c_leaves_at_once_with_the_last_checkpoint_good(
    start: Callable[..., Process], photos: list[str]
) -> None:
    hanging = slow(IN_THE_MAKING["a checkpoint"], seconds="(calls.append(0), 60 * (len(calls) > 1))[1]")
    process = start(*photos, "trainer.checkpoint_every_steps=2", patch=f"{STEPS}calls = []\n{hanging}")
    process.wait_for("begun", times=2)
    workers = workers_of(process.pid)
    process.send(signal.SIGINT)
    time.sleep(0.3)
    began = time.monotonic()
    assert process.send(signal.SIGINT).code() == 130
    assert time.monotonic() - began < 2
    assert "left at once; resume goes on from the last checkpoint" in process.err
    assert step_in(process.folder / "run") == 2
    until = time.monotonic() + 5
    while any(map(is_alive, workers)):
        assert time.monotonic() < until, "workers go on living"
