"""Nobody reads any more, the terminal is closed, a signal comes before the first step or after the last."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byol_cli.cli import session
from byol_cli.cli.sweep_job import SweepTask
from byol_cli.evaluation.evaluator import Evaluator
from byol_cli.training.checkpoint_search import newest_good

Command = Callable[..., Any]
SHORT = ["evaluation=[]", "trainer.gauges_every_steps=1000"]
MAIN = "from byol_cli.cli.train import main\nmain()\n"


def process(script: str, *words: str, folder: Path, **named: Any) -> subprocess.Popen[str]:
    """`byol-train` after `script`, in a process of its own."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-c", script + MAIN, *words]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **named)


@pytest.mark.slow
def test_a_signal_while_torch_is_imported_leaves_nothing(tiny: list[str], tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "class Marker:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'torch.nn':\n"
        "            print('importing', flush=True)\n"
    ) + "sys.meta_path.insert(0, Marker())\n"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with process(script, *tiny, "hydra.run.dir=runs/run", folder=tmp_path, **pipes) as running:
        assert running.stdout
        assert running.stdout.readline() == "importing\n"
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate()
    assert running.returncode == 75, err
    assert err == "byol-train: interrupted before the first step, with nothing to save; the same command begins anew\n"
    assert "importing" not in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["hydra.run.dir=run"], ["resume=begun"]])
def test_torch_s_import_is_never_torn(
    words: list[str], byol_train: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that comes out of a signal in the midst of torch's start-up in C++ aborts the process (SIGABRT)."""
    torn: list[bool] = []

    class Finder:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == session.__name__:
                torn.append(True)
                os.kill(os.getpid(), signal.SIGTERM)
                torn.clear()

    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, session.__name__)
    monkeypatch.delattr(sys.modules["byol_cli.cli"], "session")
    ended = byol_train(*words, *([] if words[0].startswith("resume") else tiny))
    assert (ended.code, torn) == (75, []), ended.err
    assert "interrupted before" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


@pytest.mark.slow
@pytest.mark.parametrize("closed", [1, 2])
def test_a_stream_may_be_closed_from_the_start(closed: int, tiny: list[str], tmp_path: Path) -> None:
    words = [*tiny, *SHORT, "trainer.steps=2", "hydra.run.dir=run"]
    shell = f'exec "$@" {closed}>&-'
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    ended = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-c", MAIN, *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "done"


@pytest.mark.slow
def test_a_run_goes_on_to_its_end_when_nobody_reads_what_it_prints(tiny: list[str], tmp_path: Path) -> None:
    words = [*tiny, *SHORT, "trainer.steps=20", "trainer.log_every_steps=1", "resume=auto"]
    reader, writer = os.pipe()
    running = process("", *words, "hydra.run.dir=runs/run", folder=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    os.close(reader)  # before the first word
    assert running.wait(60) == 0
    assert json.loads((tmp_path / "runs" / "run" / "summary.json").read_text())["status"] == "done"


HANGUP = """
import fcntl, os, pty, termios
from byol_cli.training.console import Progress

master, terminal = pty.openpty()
os.setsid()
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
for descriptor in (0, 1, 2):
    os.dup2(terminal, descriptor)
os.close(terminal)
advance, images_seen = Progress.advance, []

def closing_the_terminal(self, images):
    images_seen.append(images)
    if len(images_seen) == 5:
        os.close(master)
    self._bar.mininterval = 0  # every step is drawn
    advance(self, images)

Progress.advance = closing_the_terminal
"""


def test_a_closed_terminal_ends_a_run_with_all_saved(tiny: list[str], tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as log:
        words = [*tiny, *SHORT, "trainer.steps=500", "trainer.log_every_steps=1", "hydra.run.dir=run"]
        running = process(HANGUP, *words, folder=tmp_path, stdout=log, stderr=log)
        assert running.wait(60) == 75
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    found = newest_good(tmp_path / "run", field="resume", say=pytest.fail)
    assert found
    assert 5 <= found[1]["step"] < 20


def test_a_second_sigterm_while_the_first_is_heeded_changes_nothing(
    byol_train: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SLURM does: SIGUSR1 some time before the end, and SIGTERM at the end."""
    write_json = session.write_json

    def interrupted(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(10)

    def interrupted_again(path: Path, values: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        write_json(path, values)

    monkeypatch.setattr(Evaluator, "report", interrupted)
    monkeypatch.setattr(session, "write_json", interrupted_again)
    ended = byol_train(*tiny, *SHORT, "trainer.steps=2", "hydra.run.dir=run")
    assert ended.code == 75
    assert "interrupted and saved at step 2; go on by: byol-train resume=run\n" in ended.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"


def test_a_run_that_is_interrupted_while_it_is_taken_up_again_is_not_said_to_begin_anew(
    byol_train: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "report", interrupted)
        assert byol_train(*tiny, *SHORT, "trainer.steps=2", "hydra.run.dir=run").code == 75
    with monkeypatch.context() as patch:
        patch.setattr(session, "prepare", interrupted)
        ended = byol_train("resume=run")
    assert ended.code == 75
    assert "begins anew" not in ended.err
    assert ended.err.rstrip().endswith("byol-train resume=run")
    assert byol_train("resume=run").code == 0


def test_a_signal_between_two_jobs_ends_the_sweep(
    byol_train: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job = SweepTask._run

    def run_and_stop(self: SweepTask, *arguments: Any) -> Any:
        outcome = run_job(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)
        return outcome

    monkeypatch.setattr(SweepTask, "_run", run_and_stop)
    ended = byol_train("-m", *tiny, *SHORT, "trainer.steps=2", "seed=0,1,2", "hydra.sweep.dir=sweep")
    assert ended.code == 75, ended.err
    rows = (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["done", "not run", "not run"]
    assert "interrupted" in ended.err
    assert "Traceback" not in ended.err
