import os
import random
import subprocess
import sys
import time
from pathlib import Path

import endurance
import processes
import pytest
from endurance import FIGURES, Figure, Sample, judge, newest_step, table

from byol_cli.cli.command import guarded

MEMORY = Figure(name="memory", measure=lambda pid: 0.0, allowed=10.0, allowed_share=0.02)
FILES = Figure(name="files", measure=lambda pid: 0.0, allowed=0.0)


def series(*, start: float, a_step: float, noise: float) -> list[Sample]:
    """2,000 steps; the first ones rise as a run does that is still starting."""
    rng = random.Random(0)
    return [
        Sample(step=step, values=[start - max(0, 100 - step) + a_step * step + rng.gauss(0, noise)])
        for step in range(1, 2001, 7)
    ]


def test_what_grows_is_refused() -> None:
    judgement = judge(series(start=400, a_step=0.02, noise=5), 0, MEMORY)
    assert not judgement.passed
    assert judgement.growth == pytest.approx(0.02 * 1200, abs=3)
    assert not judge(series(start=1, a_step=0.01, noise=0), 0, FILES).passed


def test_what_is_flat_with_noise_is_fine() -> None:
    assert judge(series(start=400, a_step=0, noise=20), 0, MEMORY).passed
    assert judge(series(start=20, a_step=0, noise=0), 0, FILES).passed
    assert judge(series(start=400, a_step=-0.1, noise=5), 0, MEMORY).passed


def test_a_large_process_may_grow_by_its_share() -> None:
    growing = {"a_step": 0.015, "noise": 0.0}  # by 18
    assert not judge(series(start=600, **growing), 0, MEMORY).passed
    assert judge(series(start=1000, **growing), 0, MEMORY).passed


def test_too_few_samples_are_no_proof() -> None:
    with pytest.raises(ChildProcessError, match="4 samples are too few to tell"):
        judge(series(start=400, a_step=0, noise=0)[:4], 0, MEMORY)
    with pytest.raises(ChildProcessError, match="0 samples"):
        judge([], 0, MEMORY)


def test_the_table_names_what_grows() -> None:
    samples = [Sample(step=step, values=[400.0, 400.0, 20.0 + step // 50, 4.0, 2.0]) for step in range(1, 100)]
    lines = table([judge(samples, place, figure) for place, figure in enumerate(FIGURES)]).splitlines()
    assert [line.split(" | ")[-1] for line in lines[2:]] == ["holds |", "holds |", "GROWS |", "holds |", "holds |"]


def test_the_step_is_that_of_the_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert newest_step(path) == 0
    path.write_text('{"step": 3}\n{"step": 45}\n{"st')
    assert newest_step(path) == 45


def test_memory_files_threads_and_workers_of_a_process_are_seen() -> None:
    program = (
        "import subprocess, sys, threading, time\n"
        "block, files = bytearray(b'x' * (50 << 20)), [open(sys.executable) for _ in range(9)]\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert processes.descendants(process.pid) == [child]
        assert processes.descendants(os.getpid()).count(child) == 1
        assert 50 < processes.resident_megabytes(process.pid) < 90
        assert 50 < processes.proportional_megabytes(process.pid) < 90
        assert processes.open_files(process.pid) >= 3 + 9
        assert processes.threads(process.pid) == 2
        process.kill()
        process.wait()
        assert processes.is_alive(child)
        os.kill(child, 9)
        until = time.monotonic() + 10
        while processes.is_alive(child):
            assert time.monotonic() < until
            time.sleep(0.01)
    assert (processes.open_files(process.pid), processes.proportional_megabytes(process.pid)) == (0, 0)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--epochs 0", "--epochs=0 must lie between 1 and --steps=2000"),
        ("--steps 5 --epochs 6", "--epochs=6 must lie between 1 and --steps=5"),
        ("--workers -1", "--workers=-1 must not be below 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(endurance.PROGRAM, lambda: endurance.main(words.split())) == 2
    assert capsys.readouterr().err == f"endurance.py: {complaint}\n"
