"""Jobs that share a process are to the bit what each is alone, and leave nothing behind in it."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_cli.cli.command import Outcome
from byol_cli.cli.job_folder import job_name
from byol_cli.cli.sweep_job import SweepTask

Command = Callable[..., Any]

SHORT = ["trainer.steps=3", "trainer.batch_size=64", "trainer.log_every_steps=1", "evaluation=[knn]"]
JOBS = [[f"seed={seed}", f"optimizer={name}"] for seed in (0, 1) for name in ("sgd", "lars", "adam", "adamw")]
JOBS += [["seed=2", "optimizer=sgd"], ["seed=2", "optimizer=lars"]]
CLOCKS = {"train/images_per_second", "train/data_wait_share"}


def remains(run_dir: Path) -> tuple[dict[str, Any], list[dict[str, float]], dict[str, Any]]:
    """What a run came to: all tensors and numbers of its checkpoint, its figures, its scores."""
    checkpoint = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    tensors: dict[str, Any] = {}

    def collect(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, f"{name}.{key}")
        elif isinstance(value, list | tuple):
            for place, inner in enumerate(value):
                collect(inner, f"{name}.{place}")
        else:
            tensors[name] = value.numpy().tobytes() if isinstance(value, torch.Tensor) else value

    collect({key: value for key, value in checkpoint.items() if key not in ("config", "versions")}, "")
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    rows = [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]
    summary = json.loads((run_dir / "summary.json").read_text())
    return tensors, rows, {name: summary[name] for name in ("selection_score", "knn_top1", "untrained", "pixels")}


def alone(folder: Path, words: list[str]) -> Path:
    run_dir = folder / job_name(words)
    command = [sys.executable, "-m", "byol_cli", *words, f'hydra.run.dir="{run_dir}"']
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run(command, cwd=folder, env=threads, check=True, capture_output=True)
    return run_dir


@pytest.mark.slow
def test_ten_jobs_of_one_process_equal_ten_processes_to_the_bit(
    byol_train: Command, tiny: list[str], tmp_path: Path
) -> None:
    whole = [[*tiny, *SHORT, *words] for words in JOBS]
    for swept in (["seed=0,1", "optimizer=sgd,lars,adam,adamw"], ["seed=2", "optimizer=sgd,lars"]):
        ended = byol_train("-m", *tiny, *SHORT, *swept, "hydra.sweep.dir=sweep")
        assert ended.code == 0, ended.err
    with ThreadPoolExecutor(2) as pool:
        singles = list(pool.map(lambda words: alone(tmp_path, words), whole))
    for words, single in zip(whole, singles, strict=True):
        assert remains(tmp_path / "sweep" / job_name(words)) == remains(single), words


@pytest.mark.slow
def test_the_comparison_sees_a_seed_that_leaks(
    byol_train: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_once = iter([torch.manual_seed])
    monkeypatch.setattr("byol_cli.training.state.torch.manual_seed", lambda seed: next(seed_once, int)(seed))
    ended = byol_train("-m", *tiny, *SHORT, "seed=0,1", "hydra.sweep.dir=sweep")
    assert ended.code == 0, ended.err
    words = [*tiny, *SHORT, "seed=1"]
    assert remains(tmp_path / "sweep" / job_name(words))[0] != remains(alone(tmp_path, words))[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.distributed.reduce_op`:FutureWarning")  # looked at by isinstance
def test_jobs_leave_no_tensors_threads_files_or_handlers_behind(
    byol_train: Command, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []
    kept: list[torch.Tensor] = []
    run = SweepTask._run

    def run_and_look(self: SweepTask, composed: Any) -> Outcome:
        outcome = run(self, composed)
        gc.collect()
        tensors = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
        files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        handlers = tuple(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))
        seen.append((tensors, threading.active_count(), files, handlers, torch.are_deterministic_algorithms_enabled()))
        return outcome

    monkeypatch.setattr(SweepTask, "_run", run_and_look)
    words = [*tiny, "trainer.steps=2", "trainer.batch_size=64", "evaluation=[]"]
    assert byol_train("-m", *words, "seed=0,1,2", "hydra.sweep.dir=sweep").code == 0
    assert seen[1] == seen[2]
    leaks = iter(range(3))

    def leak(self: SweepTask, composed: Any) -> Outcome:
        kept.append(torch.zeros(next(leaks) + 1))
        return run_and_look(self, composed)

    monkeypatch.setattr(SweepTask, "_run", leak)
    assert byol_train("-m", *words, "seed=3,4,5", "hydra.sweep.dir=sweep").code == 0
    assert seen[4] != seen[5]
