"""The same sweep into the same folder: what is finished stays, what is not is gone on with; every folder tells."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.errors import MissingConfigException
from hypothesis import given
from hypothesis import strategies as st

from byol_cli.cli import compose, session, sweep
from byol_cli.cli.command import DONE, FAULT, Outcome
from byol_cli.cli.compose import compose_config, load_config
from byol_cli.cli.job_folder import WATCHING, JobRecord, finished_before, job_name
from byol_cli.cli.sweep_plan import SweepPlan
from byol_cli.cli.sweep_table import JobEnd, changes_of, ends_of, exit_code_of, table_of
from byol_cli.schema.command import TrainConfig
from byol_cli.training import pretrain
from byol_cli.training.console import Progress

Command = Callable[..., Any]

SHORT = ["trainer.steps=4", "trainer.checkpoint_every_steps=1", "evaluation=[]", "trainer.batch_size=64"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than all the rest of so short a run."""
    for module, name in (
        (pretrain, "save_curves"),
        (pretrain, "save_views"),
        (session, "show"),
        (session, "write_report"),
        (sweep, "_show"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: None)


def statuses(folder: Path) -> list[tuple[str, str]]:
    rows = [line.split(",") for line in (folder / "sweep.csv").read_text().splitlines()[1:]]
    return sorted((overrides, status) for _, overrides, status, *_ in rows)


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)["online"]


@given(st.permutations(["seed=1", "optimizer.lr=0.1", "evaluation=[knn]"]), st.booleans())
def test_a_folder_is_of_the_job_not_of_the_order_of_words_nor_of_how_it_is_watched(
    words: list[str], watched: bool
) -> None:
    more = [f"{setting}=1" for setting in WATCHING] if watched else []
    assert job_name([*words, *more]) == job_name(["evaluation=[knn]", "optimizer.lr=0.1", "seed=1"])
    assert job_name([*words, "trainer.steps=1"]) != job_name(words)


def test_folders_are_known_before_hydra_makes_them(
    byol_train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byol_cli.cli.jobs.fresh_job", lambda *_, **__: Outcome(DONE))
    words = [
        "seed=0,1",
        "backbone.widths=[4,8],[8,16]",
        "backbone.blocks=[1,1]",
        "name='a b=c'",
        "evaluation=[knn]",
        "seed=2,3",
        "head=small",
    ]
    ended = byol_train("-m", *words, "hydra.sweep.dir=sweep")
    assert len(ended.err.splitlines()) > 1, ended.err
    made = {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()}
    assert made == set(SweepPlan(words, params={}, draws=False).jobs)
    assert len(made) == 4  # the seeds named last count, as for Hydra


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was_interrupted(
    byol_train: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", *tiny, *SHORT, "seed=0,1,2"]
    assert byol_train(*words, "hydra.sweep.dir=whole").code == 0
    advance, steps = Progress.advance, []

    def interrupt_in_the_second_job(self: Progress, images: int) -> None:
        advance(self, images)
        steps.append(1)
        if len(steps) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", interrupt_in_the_second_job)
        assert byol_train(*words, "hydra.sweep.dir=sweep").code == 75
    folders = [tmp_path / "sweep" / job_name([*tiny, *SHORT, f"seed={seed}"]) for seed in (0, 1, 2)]
    assert statuses(tmp_path / "sweep") == [("seed=0", "done"), ("seed=1", "interrupted"), ("seed=2", "not run")]
    finished = (folders[0] / "checkpoints" / "last.pt").stat().st_mtime_ns
    ended = byol_train(*words, "hydra.sweep.dir=sweep", "trainer.stop_early=none")
    assert ended.code == 0, ended.err
    assert f"{folders[0]} is finished already" in ended.out
    assert ended.out.count("going on from step 2 of 4") == 1
    assert (folders[0] / "checkpoints" / "last.pt").stat().st_mtime_ns == finished
    for folder in folders:
        there = weights(tmp_path / "whole" / folder.name)
        assert all(torch.equal(value, there[name]) for name, value in weights(folder).items())
    scored = [[line.split(",")[:7] for line in path.read_text().splitlines()] for path in tmp_path.glob("*/sweep.csv")]
    assert scored[0] == scored[1]


@pytest.mark.slow
def test_a_folder_of_another_run_says_so_and_is_left_alone(
    byol_train: Command, tiny: list[str], tmp_path: Path
) -> None:
    words = ["-m", *tiny, *SHORT, "seed=0,1", "hydra.sweep.dir=sweep"]
    assert byol_train(*words).code == 0
    changed = tmp_path / "sweep" / job_name([*tiny, *SHORT, "seed=0"])
    config = yaml.safe_load((changed / "config.yaml").read_text())
    config["optimizer"]["lr"] = 0.01  # as after a change of defaults
    (changed / "config.yaml").write_text(yaml.safe_dump(config))
    record = json.loads((changed / "job.json").read_text())
    (changed / "job.json").write_text(json.dumps({**record, "version": "0.0.1"}))
    summary = (changed / "summary.json").read_bytes()
    ended = byol_train(*words)
    assert ended.code == 0
    assert statuses(tmp_path / "sweep") == [("seed=0", "failed"), ("seed=1", "done")]
    assert f"{changed} is another run: optimizer.lr is 0.01 there and 0.3 here" in ended.err
    assert f"note: {changed} was begun by byol-cli 0.0.1" in ended.err
    assert (changed / "summary.json").read_bytes() == summary


@pytest.mark.slow
def test_a_sweep_may_grow_and_one_table_tells_of_all(byol_train: Command, tiny: list[str], tmp_path: Path) -> None:
    words = ["-m", *tiny, *SHORT, "hydra.sweep.dir=sweep"]
    assert byol_train(*words, "seed=0,1").code == 0
    ended = byol_train(*words, "seed=1,2")
    assert ended.out.count("is finished already") == 1
    assert statuses(tmp_path / "sweep") == [(f"seed={seed}", "done") for seed in (0, 1, 2)]
    assert byol_train(*tiny, *SHORT, "hydra.run.dir=run").code == 0
    ended = byol_train("-m", *tiny, "seed=0,1", "hydra.sweep.dir=run")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "hydra.sweep.dir=run holds a run" in ended.err


@pytest.mark.slow
def test_a_hopeless_job_is_stopped_early_and_stays_so_while_the_rule_is_in_force(
    byol_train: Command, tiny: list[str], tmp_path: Path
) -> None:
    for other in range(4):
        (tmp_path / "sweep" / f"other{other}").mkdir(parents=True)
        rows = [{"step": step, "probe/knn_top1": 0.999} for step in (1, 20, 40, 60)]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / "sweep" / f"other{other}" / "metrics.jsonl").write_text(lines)
    fixed = [*tiny, "trainer.epochs=3", "trainer.probe_every_epochs=1", "trainer.batch_size=64", "evaluation=[]"]
    words = ["-m", *fixed, "seed=0,1", "hydra.sweep.dir=sweep"]
    ended = byol_train(*words, "trainer.stop_early=median", "trainer.stop_early_after=0.5")
    assert ended.code == 3
    assert "step 40: its best score" in ended.err  # not 20, before the half
    assert "is below the median 0.999 of 4 other runs by this step" in ended.out
    assert statuses(tmp_path / "sweep") == [("seed=0", "stopped"), ("seed=1", "stopped")]
    summary = json.loads((tmp_path / "sweep" / job_name([*fixed, "seed=0"]) / "summary.json").read_text())
    assert (summary["status"], summary["stopped_by"], summary["steps"]) == ("stopped", "median", 40)
    assert 0 < summary["selection_score"] < 0.999
    again = byol_train(*words, "trainer.stop_early=median", "trainer.stop_early_after=0.5")
    assert again.out.count("is finished already") == 2
    assert again.code == 3
    without = byol_train(*words)
    assert without.out.count("going on from step 40 of 60") == 2
    assert statuses(tmp_path / "sweep") == [("seed=0", "done"), ("seed=1", "done")]


def test_a_job_that_collapsed_is_finished_while_collapse_stops(tmp_path: Path, tiny_config: TrainConfig) -> None:
    summary = {"status": "stopped", "stopped_by": "collapse", "message": "collapsing", "selection_score": 0.25}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    stops = finished_before(tmp_path, replace(tiny_config.trainer, on_collapse="stop"))
    assert stops is not None
    assert (stops.exit_code, stops.score, stops.message) == (FAULT, 0.25, "collapsing")
    assert finished_before(tmp_path, replace(tiny_config.trainer, on_collapse="warn")) is None
    (tmp_path / "summary.json").write_text(json.dumps({"status": "done", "selection_score": 0.5}))
    done = finished_before(tmp_path, tiny_config.trainer)
    assert done is not None
    assert (done.exit_code, done.score) == (DONE, 0.5)
    (tmp_path / "summary.json").write_text("[]")
    assert finished_before(tmp_path, tiny_config.trainer) is None


@pytest.fixture
def tiny_config() -> TrainConfig:
    return load_config(TrainConfig, compose_config("train", []))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.stop_early=none,median"], "trainer.stop_early=none,median: this makes no other job"),
        (["hydra.verbose=true,false", "seed=0,1"], "Hydra's own settings cannot be swept"),
        (["seed=0,1", "hydra.sweep.subdir=x"], "a job's folder is named by its overrides; leave it out"),
        (["optimizer.lr=interval(0.1,1)"], "values are drawn from an interval by hydra/sweeper=optuna"),
        (["seed=0,1", "trainer.recorders=[tb]"], "trainer.recorders[0]=tb must be one of wandb, mlflow"),
    ],
)
def test_what_makes_no_sweep_is_refused_in_a_line(
    byol_train: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    ended = byol_train("-m", *words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert message in ended.err
    assert not list(tmp_path.iterdir())


def test_the_median_rule_is_of_sweeps(byol_train: Command) -> None:
    ended = byol_train("trainer.stop_early=median")
    assert ended.err == "byol-train: trainer.stop_early=median compares the jobs of a sweep; add -m\n"


def test_every_status_is_read_from_the_folder(tmp_path: Path) -> None:
    def folder(name: str, code: int | None, summary: str, message: str = "") -> None:
        (tmp_path / name).mkdir()
        JobRecord(["seed=0", f"name={name}"], exit_code=code, message=message).write(tmp_path / name)
        (tmp_path / name / "summary.json").write_text(summary)

    folder("good", 0, '{"status": "done", "selection_score": 0.5, "seconds": 1.5}')
    folder("cut", None, '{"status": "interrupted"}')
    folder("ill", 0, '{"status": "done", "selection_score": "much"}')
    folder("early", 3, '{"status": "stopped", "selection_score": 0.9}', "it was hopeless")
    folder("late", 75, '{"status": "interrupted"}')
    folder("bad", 2, "", "a wrong value")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "job.json").write_text('{"overrides": 3}')
    ends = ends_of(tmp_path, {"none": ["seed=1"]}, {})
    told = {end.name: (end.status, end.message) for end in ends}
    assert told == {
        "good": ("done", ""),
        "cut": ("unfinished", "its process ended without a word"),
        "ill": ("failed", "its summary.json is damaged"),
        "early": ("stopped", "it was hopeless"),
        "late": ("interrupted", ""),
        "bad": ("failed", "a wrong value"),
        "none": ("not run", ""),
    }
    assert ends[0].name == "good"
    assert exit_code_of(ends) == 0
    assert exit_code_of([end for end in ends if end.status != "done"]) == 75


def end(number: int) -> JobEnd:
    figures = {"selection_score": number / 10_000, "seconds": 1.0}
    words = ["trainer.steps=4", f"seed={number}"]
    return JobEnd(name=str(number), overrides=words, status="done", exit_code=0, figures=figures, message="")


def test_the_terminal_shows_what_jobs_do_not_share_and_of_thousands_the_best() -> None:
    ends = [end(number) for number in range(3000)]
    assert changes_of(ends[:2]) == {"0": "seed=0", "1": "seed=1"}
    assert changes_of(ends[:1]) == {"0": "trainer.steps=4 seed=0"}
    lines = table_of(ends).splitlines()
    assert len(lines) == 52
    assert lines[-1] == "and 2,950 more in sweep.csv"


def test_a_launcher_that_is_not_installed_names_its_extra() -> None:
    missing = MissingConfigException("", missing_cfg_file="hydra/launcher/submitit_slurm")
    said = "hydra/launcher=submitit_slurm needs a package: pip install 'byol-cli[submitit]'"
    assert compose._missing_option(missing) == said
