"""Sweeps whose jobs, folders and disks fail; the jobs are made up, so that nothing is trained here."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from byol_cli.cli import jobs as job_module
from byol_cli.cli.command import DONE, Outcome
from byol_cli.cli.job_folder import job_name
from byol_cli.schema.command import TrainConfig

Command = Callable[..., Any]


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[int]:
    """Another process writes in `folder`; its id."""
    folder.mkdir(parents=True)
    script = (
        "import sys; from pathlib import Path; from byol_cli.cli.folders import RunLock\n"
        "with RunLock(Path(sys.argv[1]), field='', say=print):\n    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.communicate()


def done(run_dir: Path) -> Outcome:
    (run_dir / "summary.json").write_text(json.dumps({"status": "done", "selection_score": 0.5, "seconds": 1}))
    return Outcome(DONE, score=0.5)


def damaged(run_dir: Path) -> Outcome:
    (run_dir / "summary.json").write_text('{"status": "do')
    return Outcome(DONE)


def broken(run_dir: Path) -> Outcome:
    shutil.rmtree(run_dir)
    raise OSError(28, "No space left on device")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do these in place of the runs with seed=0, seed=1, ..."""

    def arrange(*jobs: Callable[[Path], Outcome]) -> None:
        def job(config: TrainConfig, run_dir: Path, **_: Any) -> Outcome:
            return jobs[config.seed](run_dir)

        monkeypatch.setattr(job_module, "fresh_job", job)

    return arrange


def statuses(ended: Any) -> dict[str, str]:
    lines = ended.out[ended.out.rindex("job         overrides") :].split("\n\n")[0].splitlines()[1:]
    return {words[1]: words[2] for words in map(str.split, lines)}


def folder_of(*words: str) -> Path:
    return Path("sweep") / job_name(words)


def test_whatever_becomes_of_a_job_the_others_are_run_and_told_of(
    byol_train: Command, jobs: Callable[..., None], tmp_path: Path
) -> None:
    jobs(damaged, broken, done, done)
    with held_elsewhere(tmp_path / folder_of("seed=2")) as process:
        ended = byol_train("-m", "seed=0,1,2,3", "hydra.sweep.dir=sweep")
    assert ended.code == 0, ended.err
    assert statuses(ended) == {"seed=3": "done", "seed=0": "failed", "seed=1": "failed", "seed=2": "running"}
    assert f"{folder_of('seed=2')} is being written by process {process} on " in ended.err
    assert not list((tmp_path / folder_of("seed=2")).iterdir())
    assert f"{folder_of('seed=1')}/job.json cannot be written: No such file or directory" in ended.err
    rows = (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()
    best, worst = folder_of("seed=3").name, folder_of("seed=0").name
    assert [row.split(",")[:3] for row in rows[1:3]] == [[best, "seed=3", "done"], [worst, "seed=0", "failed"]]
    assert f"{worst}: its summary.json is damaged" in ended.out
    assert f"{folder_of('seed=1').name}: OSError: [Errno 28] No space left on device" in ended.out


def test_where_neither_the_next_folder_nor_the_table_can_be_written_it_is_printed(
    byol_train: Command, jobs: Callable[..., None], tmp_path: Path
) -> None:
    def spoil(run_dir: Path) -> Outcome:
        (run_dir.parent / folder_of("seed=1").name).touch()
        (run_dir.parent / "sweep.csv").mkdir()
        return done(run_dir)

    jobs(spoil)
    ended = byol_train("-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert (ended.code, statuses(ended)) == (3, {"seed=0": "done", "seed=1": "not"})
    *_, table, folder = ended.err.splitlines()
    assert folder.startswith("byol-train: the sweep ends at ")
    assert folder.endswith(f"{folder_of('seed=1')}: File exists")
    assert table == "warning: sweep/sweep.csv cannot be written: Is a directory"
    assert "Traceback" not in ended.err


def test_of_two_sweeps_in_one_folder_the_second_is_refused(
    byol_train: Command, jobs: Callable[..., None], tmp_path: Path
) -> None:
    jobs(done, done)
    with held_elsewhere(tmp_path / "sweep") as process:
        ended = byol_train("-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert f"hydra.sweep.dir=sweep is being written by process {process} on " in ended.err
