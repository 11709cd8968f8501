"""`byol-train` under torchrun itself: one folder, one voice, and a job that ends when one of its processes does."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from byol_cli.cli import evaluate
from byol_cli.training.checkpoint_search import newest_good
from byol_cli.training.recorder import read_metrics

pytestmark = pytest.mark.slow
WORDS = (
    "backbone.widths=[4,8] backbone.blocks=[1,1] head.hidden_dim=16 head.output_dim=8 trainer.device=cpu "
    "trainer.precision=fp32 trainer.log_every_steps=1 trainer.checkpoint_every_steps=5 hydra.run.dir=run"
).split()
LONG = ["trainer.steps=100000", "evaluation=[]", "trainer.probe_every_epochs=100000"]
Torchrun = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def torchrun(tmp_path: Path) -> Iterator[Torchrun]:
    """Start it with flags of its own before `byol-train`'s words."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, flags: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *flags]
        started.append(
            subprocess.Popen(
                [*command, "-m", "byol_cli", *words],
                cwd=tmp_path,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        end_group(process)


def end_group(process: "subprocess.Popen[str]") -> None:
    """torchrun and whatever it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def step_of(folder: Path) -> int:
    rows = read_metrics(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
    return int(rows[-1]["step"]) if rows else 0


def wait_for_step(folder: Path, step: int) -> None:
    until = time.monotonic() + 60
    while step_of(folder) < step:
        assert time.monotonic() < until
        time.sleep(0.1)


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(map(int, children))


def told(err: str) -> list[str]:
    """What byol-train said, rather than torchrun."""
    return [line for line in err.splitlines() if line.startswith("byol-train")]


def test_two_processes_leave_one_run_that_measures_the_same_in_one(
    torchrun: Torchrun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, err = torchrun(*WORDS, "trainer.steps=12", "evaluation=[knn,linear]").communicate(timeout=120)
    run = tmp_path / "run"
    assert out.count("batch:         64 images over 2 processes") == 1, err
    assert out.count("accuracy on the test images") == 1
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl") if "train/loss" in row] == list(range(1, 13))
    together = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["byol-eval", "checkpoint=run", "device=cpu", "evaluation=[knn,linear]"])
    with pytest.raises(SystemExit):
        evaluate.main()
    capfd.readouterr()
    alone = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()][len(together) :]
    assert len(together) == len(alone) == 9

    for one, other in zip(together, alone, strict=True):
        assert (one["measure"], one["representation"]) == (other["measure"], other["representation"])
        assert one["figures"].get("top1", 0) == pytest.approx(other["figures"].get("top1", 0), abs=0.02)
        if one["confusion"]:
            assert sum(map(sum, one["confusion"])) == 359


def test_a_stop_saves_all_and_the_printed_command_goes_on(torchrun: Torchrun, tmp_path: Path) -> None:
    process = torchrun(*WORDS, *LONG)
    wait_for_step(tmp_path / "run", 7)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    (line,) = told(err)
    found = re.fullmatch(r"byol-train: interrupted and saved at step ([\d,]+); go on by: (.*)", line)
    assert found, err
    assert found[2] == "torchrun --nproc-per-node=2 --no-python byol-train resume=run"
    good = newest_good(tmp_path / "run", field="x", say=print)
    assert good is not None
    step = good[1]["step"]
    assert step == int(found[1].replace(",", "")) == step_of(tmp_path / "run")
    out, err = torchrun("resume=run", f"trainer.steps={step + 3}", "resume_force=true").communicate(timeout=120)
    assert f"going on from step {step} of {step + 3}" in out, err
    assert step_of(tmp_path / "run") == step + 3


def test_a_killed_process_ends_the_job_and_auto_goes_on_from_its_last_checkpoint(
    torchrun: Torchrun, tmp_path: Path
) -> None:
    process = torchrun(*WORDS, *LONG)
    wait_for_step(tmp_path / "run", 12)
    os.kill(workers_of(process)[1], signal.SIGKILL)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert process.returncode == 1
    good = newest_good(tmp_path / "run", field="x", say=print)
    assert good is not None, err
    assert good[1]["step"] >= 10
    process = torchrun(*WORDS, *LONG, "resume=auto")
    wait_for_step(tmp_path / "run", good[1]["step"] + 5)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert re.search(r"going on from step [1-9]", out)


def test_an_elastic_restart_resumes_by_itself(torchrun: Torchrun, tmp_path: Path) -> None:
    process = torchrun(*WORDS, *LONG, "resume=auto", flags=("--max-restarts=1",))
    wait_for_step(tmp_path / "run", 12)
    first = workers_of(process)
    os.kill(first[1], signal.SIGKILL)
    until = time.monotonic() + 90
    while not set(workers_of(process)) - set(first):
        assert time.monotonic() < until
        time.sleep(0.1)
    wait_for_step(tmp_path / "run", step_of(tmp_path / "run") + 5)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert re.search(r"going on from step [1-9]", out), err
    assert "interrupted and saved at step" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "seed=0,1"], "-m under torchrun: a sweep is many runs, and torchrun starts one; leave out either"),
        (
            ["trainer.batch_size=63"],
            "trainer.batch_size=63 over 2 processes gives them uneven parts; a multiple of 2 does not",
        ),
        (["trainer.epochs=x"], "trainer.epochs=x must be a whole number"),
        (["resume=nowhere"], "resume=nowhere: there is no run in that folder (no config.yaml)"),
    ],
)
def test_what_is_refused_is_told_once_and_leaves_no_folder(
    torchrun: Torchrun, tmp_path: Path, words: list[str], message: str
) -> None:
    process = torchrun(*(words if "resume=nowhere" in words else [*WORDS, *words]))
    _, err = process.communicate(timeout=60)
    assert told(err) == [f"byol-train: {message}"]
    assert "exitcode  : 2" in err
    assert not list(tmp_path.iterdir())
