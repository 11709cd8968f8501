"""What `resume=` goes on with, what it lets be changed, what it refuses, and what the printed command is worth."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from byol_cli.cli.folders import LockedFolder, RunLock
from byol_cli.cli.resume import config_in, unfinished_runs
from byol_cli.training import machine
from byol_cli.training.console import Progress
from byol_cli.training.recorder import read_metrics

Command = Callable[..., Any]
SETTINGS = ["trainer.steps=4", "trainer.precision=fp32", "trainer.log_every_steps=1", "trainer.probe_every_epochs=99"]
NO_RUN = "resume=auto: there is no unfinished run of these settings; this is a new one"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test to need one leaves an interrupted run for the others."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def words(tiny: list[str]) -> list[str]:
    return [*tiny, *SETTINGS, "evaluation=[]"]


def interrupted(byol_train: Command, *words: str) -> Any:
    """A run that is stopped in its second step."""

    def stop(self: Progress, images: int) -> None:
        if self._done:
            os.kill(os.getpid(), 15)
        self._done += images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "advance", stop)
        ended = byol_train(*words)
    assert ended.code == 75, ended.err
    return ended


@pytest.fixture
def cut(kept: Path, byol_train: Command, words: list[str], tmp_path: Path) -> Path:
    """The folder `cut` with a run of 4 steps that was interrupted after 2."""
    if not (kept / "cut").exists():
        interrupted(byol_train, *words, f"hydra.run.dir={kept}/cut")
    return Path(shutil.copytree(kept / "cut", tmp_path / "runs" / "cut")).relative_to(tmp_path)


def tree(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_auto_goes_on_with_an_interrupted_run_and_begins_another_when_it_is_done(
    byol_train: Command, words: list[str], tmp_path: Path
) -> None:
    ended = interrupted(byol_train, *words, "resume=auto", "hydra.run.dir=runs/1")
    assert NO_RUN in ended.out
    ended = byol_train(*words, "resume=auto", "hydra.run.dir=runs/2", "trainer.log_every_steps=2")
    assert ended.code == 0, ended.err
    assert "resume=auto: runs/1\n" in ended.out
    assert "going on from step 2 of 4" in ended.out
    assert "changed: trainer.log_every_steps from 1 to 2" in ended.out
    assert not (tmp_path / "runs" / "2").exists()
    ended = byol_train(*words, "resume=auto", "hydra.run.dir=runs/3")
    assert NO_RUN in ended.out
    assert json.loads((tmp_path / "runs" / "3" / "summary.json").read_text())["status"] == "done"


def test_auto_takes_the_newest_unfinished_run_of_the_same_settings(cut: Path, tmp_path: Path) -> None:
    runs, config = tmp_path / "runs", config_in(tmp_path / cut)
    for age, name in enumerate(["b", "a", "c", "done", "seed", "damaged", "garbage"]):
        shutil.copytree(runs / "cut", runs / name)
        for file in ("config.yaml", "metrics.jsonl", "checkpoints/last.pt"):
            os.utime(runs / name / file, (1e9 - age, 1e9 - age))
    (runs / "done" / "summary.json").write_text('{"status": "done"}')
    text = (runs / "seed" / "config.yaml").read_text()
    (runs / "seed" / "config.yaml").write_text(text.replace("seed: 0\n", "seed: 1\n"))
    (runs / "damaged" / "config.yaml").write_text("seed: [")
    (runs / "garbage" / "config.yaml").write_text("1: 2")
    shutil.rmtree(runs / "cut")
    (runs / "c" / "summary.json").write_text("")  # it died while it wrote that
    assert [run.name for run in unfinished_runs(config, runs)] == ["b", "a", "c"]
    os.utime(runs / "c" / "checkpoints" / "last.pt")
    assert [run.name for run in unfinished_runs(config, runs)] == ["c", "b", "a"]


def test_auto_leaves_runs_alone_that_cannot_be_gone_on_with(
    byol_train: Command, words: list[str], cut: Path, tmp_path: Path
) -> None:
    stored = (tmp_path / cut / "config.yaml").read_text()
    (tmp_path / cut / "config.yaml").write_text(stored.replace("\nseed: 0\n", "\nseed: 1\n"))  # its checkpoint has 0
    shutil.copytree(tmp_path / cut, tmp_path / "runs" / "bad")
    for checkpoint in (tmp_path / "runs" / "bad" / "checkpoints").glob("*.pt"):
        checkpoint.write_bytes(b"")
    (tmp_path / "runs" / "new").mkdir()
    (tmp_path / "runs" / "new" / "metrics.jsonl").touch()  # refused in its turn, to be over sooner
    before = tree(tmp_path)
    ended = byol_train(*words, "seed=1", "resume=auto", "hydra.run.dir=runs/new")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert "hydra.run.dir=runs/new holds the metrics.jsonl of a run" in ended.err
    for left in ("cut is another run: seed is 0 there", "no other checkpoint in runs/bad/checkpoints is good"):
        (line,) = [line for line in ended.out.splitlines() if left in line]
        assert line.endswith("; it is left alone")
    assert ended.out.splitlines()[-1] == NO_RUN
    assert tree(tmp_path) == before


@pytest.fixture
def locked(cut: Path, tmp_path: Path) -> Iterator[int]:
    """Another process that lives writes in the run."""
    script = (
        "import sys; from pathlib import Path; from byol_cli.cli.folders import RunLock\n"
        f"with RunLock(Path({str(tmp_path / cut)!r}), field='resume', say=print):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.communicate()


def test_a_run_that_a_living_process_writes_is_left_alone(
    byol_train: Command, words: list[str], locked: int, cut: Path, tmp_path: Path
) -> None:
    before = tree(tmp_path / cut)
    holder = f"runs/cut is being written by process {locked} on "
    for asked in (["resume=runs/cut"], [*words, "hydra.run.dir=runs/cut"]):
        ended = byol_train(*asked)
        assert (ended.code, holder in ended.err) == (2, True), ended.err
    ended = byol_train(*words, "resume=auto", "hydra.run.dir=runs/new")
    assert ended.code == 0, ended.err
    assert holder in ended.out
    assert NO_RUN in ended.out
    assert tree(tmp_path / cut) == before


def test_of_two_that_start_in_the_same_folder_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    first, lockf = RunLock(tmp_path, field="hydra.run.dir", say=print), fcntl.lockf

    def first_ends_just_then(file: Any, how: int) -> None:
        monkeypatch.setattr(fcntl, "lockf", lockf)
        first.__exit__(None, None, None)  # refused: it removes the file that the second has open
        lockf(file, how)

    first.__enter__()
    monkeypatch.setattr(fcntl, "lockf", first_ends_just_then)
    script = (
        "import sys; from pathlib import Path; from byol_cli.cli.folders import LockedFolder, RunLock\n"
        "try:\n    RunLock(Path(sys.argv[1]), field='resume', say=print).__enter__()\n"
        "except LockedFolder:\n    sys.exit(7)"
    )
    try:
        second = RunLock(tmp_path, field="hydra.run.dir", say=print).__enter__()
    except LockedFolder:
        return  # as good
    third = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    second.__exit__(None, None, None)
    assert third.returncode == 7, "the second and the third both write in the folder"


def test_a_fixed_folder_is_gone_on_in_if_the_settings_are_its_own(
    byol_train: Command, words: list[str], cut: Path
) -> None:
    for other in (["optimizer.lr=0.1"], ["seed=1"]):
        refused = byol_train(*words, *other, "resume=auto", "hydra.run.dir=runs/cut")
        assert (refused.code, "is another run" in refused.err) == (2, True), refused.err
    refused = byol_train("trainer.steps=4", "resume=auto", "hydra.run.dir=runs/cut")  # resnet_small as the demo has it
    assert refused.code == 2, "the network was another than the one of these settings"
    assert byol_train(*words, "resume=auto", "hydra.run.dir=runs/cut").code == 0


REFUSED = {
    "one": (["optimizer.lr=0.1"], "resume=runs/cut is another run: optimizer.lr is 0.3 there and 0.1 here; resume_"),
    "five": (
        ["seed=1", "ema.base_tau=0.5", "optimizer.lr=1", "head.output_dim=4", "trainer.batch_size=32"],
        "seed is 0 there and 1 here; head.output_dim is 8 there and 4 here; optimizer.lr is 0.3 there and 1.0 here",
    ),
    "of the five": (
        ["seed=1", "ema.base_tau=0.5", "optimizer.lr=1", "head.output_dim=4", "trainer.batch_size=32"],
        "; and 1 more; resume_force=true goes on all the same",
    ),
    "precision": (["trainer.precision=bf16"], "trainer.precision=bf16 means bf16 here, the run began with fp32"),
    "misspelt": (["optimizer.lrr=1"], "optimizer.lrr=1: resume takes setting=value, of a setting that the run has"),
    "misspelt resume": (["resume_frce=true"], "resume_frce"),
    "misspelt hydra": (["hydrate=true"], "hydrate"),
    "added": (["+optimizer.lr=1"], "+optimizer.lr=1: resume takes setting=value"),
    "removed": (["~optimizer.lr"], "~optimizer.lr: resume takes setting=value"),
    "wrong value": (["trainer.log_every_steps=0"], "trainer.log_every_steps=0 must be"),
    "wrong force": (["resume_force=1"], "resume_force=1 must be true or false"),
    "whole command": (["dataset=digits", "trainer.device=cpu"], "resume=runs/cut is another run: "),
    "past its end": (["trainer.steps=1", "resume_force=true"], "is of step 2, past this run's end at 1"),
    "with -m": (["-m", "seed=1,2"], "cannot be swept; leave out -m"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_another_run_is_refused_in_one_line_and_nothing_is_touched(
    case: str, byol_train: Command, cut: Path, tmp_path: Path
) -> None:
    added, message = REFUSED[case]
    before = tree(tmp_path)
    ended = byol_train("resume=runs/cut", *added)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert message in ended.err
    assert tree(tmp_path) == before


def test_forced_it_is_told_and_done(byol_train: Command, cut: Path, tmp_path: Path) -> None:
    ended = byol_train("resume=runs/cut", "optimizer.lr=0.6", "trainer.precision=bf16", "resume_force=true")
    assert ended.code == 0, ended.err
    assert "\nwarning: changed: optimizer.lr from 0.3 to 0.6\n" in f"\n{ended.out}"
    assert "\nchanged: trainer.precision from fp32 to bf16\n" in ended.out
    assert "precision fp32 then, bf16 now" in ended.out
    rates = [row["train/lr"] for row in read_metrics(tmp_path / cut / "metrics.jsonl") if "train/lr" in row]
    assert len(rates) == 4
    assert rates[2] > rates[1]  # by the cosine alone it would have fallen


def test_a_whole_command_goes_on_when_typed_again_and_another_machine_is_told_of(
    byol_train: Command, words: list[str], cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(machine, "_processor_model", lambda: "Another\x1b[2J 9000")
    torch.set_num_threads(threads + 1)
    try:
        ended = byol_train(*words, "resume=runs/cut", "trainer.checkpoint_every_steps=3")
    finally:
        torch.set_num_threads(threads)
    assert ended.code == 0, ended.err
    assert "changed: trainer.checkpoint_every_steps from null to 3\n" in ended.out
    assert f"threads {threads} then, {threads + 1} now" in ended.out
    assert "Another [2J 9000" in ended.out
    assert "there is nothing left to do" in byol_train(*words, "resume=runs/cut").out
