"""Launchers and sweepers for real, each where its plugin is installed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from byol_cli.cli import launchers
from byol_cli.cli.folders import holder_of
from byol_cli.cli.job_folder import job_name

SHORT = ["trainer.steps=3", "evaluation=[knn]", "trainer.batch_size=64"]
LONG = 400
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def needs(plugin: str) -> None:
    if importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(f"hydra_plugins.{plugin}") is None:
        pytest.skip(f"needs {plugin}")


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "byol_cli", "-m", "hydra.sweep.dir=sweep", *words]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    process = begin(folder, *words)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def statuses(folder: Path) -> dict[str, str]:
    rows = [line.split(",") for line in (folder / "sweep" / "sweep.csv").read_text().splitlines()[1:]]
    return {overrides: status for _, overrides, status, *_ in rows}


def scores(folder: Path) -> dict[int, float]:
    found = {}
    for path in (folder / "sweep").glob("*/summary.json"):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        found[config["seed"]] = json.loads(path.read_text())["selection_score"]
    return found


@pytest.fixture(scope="module")
def by_hydras_own() -> dict[int, float]:
    """The scores of seeds 0 and 1 by Hydra's own launcher, once they are known."""
    return {}


@pytest.fixture
def one_after_the_other(
    by_hydras_own: dict[int, float], tmp_path_factory: pytest.TempPathFactory, tiny: list[str]
) -> dict[int, float]:
    if not by_hydras_own:
        folder = tmp_path_factory.mktemp("basic")
        code, _, err = run(folder, *tiny, *SHORT, "seed=0,1")
        assert code == 0, err
        by_hydras_own |= scores(folder)
    return by_hydras_own


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joblib", "submitit_local", "ray"])
def test_jobs_in_other_processes_come_to_the_same_and_a_failing_one_hides_no_other(
    name: str, tiny: list[str], tmp_path: Path, one_after_the_other: dict[int, float]
) -> None:
    needs(f"hydra_{name.removesuffix('_local')}_launcher")
    words = [*tiny, *SHORT[:2], "trainer.batch_size=64,5000", "seed=0,1"]
    words.append(f"hydra/launcher={name}")
    code, out, err = run(tmp_path, *words)
    assert code == 0, err
    ended = {f"trainer.batch_size=64 seed={seed}": "done" for seed in (0, 1)}
    assert statuses(tmp_path) == ended | {f"trainer.batch_size=5000 seed={seed}": "failed" for seed in (0, 1)}
    assert scores(tmp_path) == one_after_the_other
    assert "trainer.batch_size=5000 must not be above the 1294 training images" in out
    assert (tmp_path / "sweep" / "sweep.html").is_file()


@pytest.mark.slow
def test_optuna_maximises_the_score_and_draws_the_same_again(tiny: list[str], tmp_path: Path) -> None:
    needs("hydra_optuna_sweeper")
    words = [*tiny, *SHORT, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"]
    words += ["optimizer.lr=interval(0.05,0.5)", "trainer.accumulation_steps=1,3"]
    code, _, err = run(tmp_path, *words)
    assert code == 0, err
    first = (tmp_path / "sweep" / "sweep.csv").read_text()
    best = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    measured = [row.split(",") for row in first.splitlines()[1:]]
    done = [float(row[3]) for row in measured if row[2] == "done"]
    assert len(measured) == 3
    assert best["best_value"] == pytest.approx(max(done))
    assert [row[2] for row in measured].count("failed") == len(measured) - len(done)  # 3 does not divide 64
    assert best["best_params"]["trainer.accumulation_steps"] == 1
    assert run(tmp_path, *words)[1].count("is finished already") == len(done)
    assert (tmp_path / "sweep" / "sweep.csv").read_text() == first


@pytest.fixture
def two_going(tiny: list[str], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[Path], list[str]]]:
    """A sweep of two long jobs at once, both past their first steps."""
    needs("hydra_joblib_launcher")
    words = [*tiny, f"trainer.steps={LONG}", "trainer.log_every_steps=1", *SHORT[1:], "hydra/launcher=joblib"]
    words += ["hydra.launcher.n_jobs=2", "trainer.checkpoint_every_steps=20", "seed=0,1"]
    fixed = [word for word in words if not word.startswith(("hydra", "seed="))]
    folders = [tmp_path / "sweep" / job_name([*fixed, f"seed={seed}"]) for seed in (0, 1)]
    with begin(tmp_path, *words) as process:
        limit = time.monotonic() + 60
        while not all((folder / "checkpoints" / "last.pt").exists() for folder in folders):
            assert time.monotonic() < limit
            time.sleep(0.05)
        yield process, folders, words
        process.kill()


@pytest.mark.slow
def test_a_signal_to_a_sweep_lets_its_jobs_save(
    two_going: tuple[subprocess.Popen[str], list[Path], list[str]], tmp_path: Path
) -> None:
    process, folders, _ = two_going
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert [json.loads((folder / "summary.json").read_text())["status"] for folder in folders] == ["interrupted"] * 2
    assert set(statuses(tmp_path).values()) == {"interrupted"}
    assert "the same command with hydra.sweep.dir=sweep goes on" in err
    assert not (tmp_path / "sweep" / ".stop").exists()


@pytest.mark.slow
def test_jobs_whose_process_is_lost_are_gone_on_with(
    two_going: tuple[subprocess.Popen[str], list[Path], list[str]], tmp_path: Path
) -> None:
    process, folders, _ = two_going
    holder = holder_of(folders[0])
    assert holder is not None
    os.kill(int(holder.split()[1]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "a process was lost; the jobs that are left are begun again" in err
    assert set(statuses(tmp_path).values()) == {"done"}
    assert [json.loads((folder / "summary.json").read_text())["steps"] for folder in folders] == [LONG] * 2


def hydra_node(**choices: str) -> object:
    return OmegaConf.create(
        {
            "runtime": {"choices": {"hydra/launcher": "basic", "hydra/sweeper": "basic", **choices}},
            "launcher": {"ray": {"init": {"address": None}}},
            "sweeper": {"sampler": {"seed": None}},
        }
    )


def test_what_is_typed_for_a_sweeper_stands() -> None:
    node = hydra_node(**{"hydra/sweeper": "optuna"})
    usual = launchers.usual_words(node, [], seed=7, on_cpu=True)
    assert usual == [
        "hydra.sweeper.direction=maximize",
        "hydra.sweeper.max_failure_rate=1.0",
        "hydra.sweeper.sampler.seed=7",
    ]
    typed = ["hydra.sweeper.direction=minimize", "++hydra.sweeper.sampler.seed=3"]
    assert launchers.usual_words(node, typed, seed=7, on_cpu=True) == ["hydra.sweeper.max_failure_rate=1.0"]
    assert launchers.usual_words(hydra_node(), [], seed=7, on_cpu=True) == []


def test_ray_gives_a_job_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    node = hydra_node(**{"hydra/launcher": "ray"})
    one = ["+hydra.launcher.ray.remote.num_gpus=1"]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for gpus, cpu, wanted in ((True, False, one), (False, False, []), (True, True, [])):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpus=gpus: gpus)
        assert launchers.usual_words(node, [], seed=0, on_cpu=cpu) == wanted
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert launchers.usual_words(node, [], seed=0, on_cpu=False) == one
    typed = ["+hydra.launcher.ray.remote.num_gpus=0.5"]
    assert launchers.usual_words(node, typed, seed=0, on_cpu=False) == []
