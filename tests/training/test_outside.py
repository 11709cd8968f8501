"""W&B and MLflow get what is recorded, go on where a run goes on, and never end one."""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.training import outside
from byol_cli.training.outside import OutsideRecorders, refuse_missing_recorders

SUMMARY = {"status": "done", "steps": 3, "seconds": 2.5, "linear_top1": None, "untrained": {"knn_top1": 0.25}}


def config(*names: str) -> TrainConfig:
    return load_config(TrainConfig, compose_config("train", [f"trainer.recorders=[{','.join(names)}]"]))


class Fake:
    """A service; `fails` names the call that raises."""

    def __init__(self, fails: str = "") -> None:
        self.id, self.fails, self.calls = "abc", fails, list[tuple[Any, ...]]()

    def record(self, step: int, values: Mapping[str, float]) -> None:
        self._note("record", step, dict(values))

    def finish(self, status: str, figures: Mapping[str, float]) -> None:
        self._note("finish", status, dict(figures))

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if call[0] == self.fails:
            raise KeyError("the service\nis down")


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[Any]]]:
    """Put these in the place of W&B and MLflow; what they were begun with is returned."""

    def arrange(**fakes: Fake) -> dict[str, list[Any]]:
        begun: dict[str, list[Any]] = {name: [] for name in fakes}

        def find(name: str) -> Any:
            short = name.rpartition(".")[2].removesuffix("_recorder")

            def begin(settings: Mapping[str, Any], *, run_dir: Path, known_id: str | None) -> Fake:
                begun[short].append((settings["optimizer.lr"], known_id))
                if fakes[short].fails == "begin":
                    raise ConnectionError("no network")
                return fakes[short]

            return SimpleNamespace(begin=begin)

        monkeypatch.setattr(outside, "import_module", find)
        return begun

    return arrange


@pytest.mark.parametrize("fails", ["begin", "record", "finish"])
def test_a_service_that_fails_is_told_of_once_and_the_other_goes_on(
    services: Callable[..., dict[str, list[Any]]], tmp_path: Path, fails: str
) -> None:
    bad, good, told = Fake(fails), Fake(), list[str]()
    services(wandb=bad, mlflow=good)
    recorders = OutsideRecorders(config("wandb", "mlflow"), tmp_path, say=told.append)
    for step in (1, 2):
        recorders.record(step, {"train/loss": 4.0})
    recorders.finish(SUMMARY)
    (line,) = told
    assert line.startswith("warning: trainer.recorders: wandb fails and gets no more: ")
    assert "\n" not in line
    assert len(bad.calls) == {"begin": 0, "record": 1, "finish": 3}[fails]
    figures = {"steps": 3, "seconds": 2.5, "untrained.knn_top1": 0.25}
    points = [("record", step, {"train/loss": 4.0}) for step in (1, 2)]
    assert good.calls == [*points, ("finish", "done", figures)]


def test_a_run_that_goes_on_is_known_again(services: Callable[..., dict[str, list[Any]]], tmp_path: Path) -> None:
    begun = services(wandb=Fake())
    OutsideRecorders(config("wandb"), tmp_path, say=print)
    OutsideRecorders(config("wandb"), tmp_path, say=print)
    lr = config().optimizer.lr
    assert begun["wandb"] == [(lr, None), (lr, "abc")]


def test_nothing_is_loaded_or_written_where_nothing_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(outside, "import_module", lambda name: pytest.fail(f"{name} is imported"))
    recorders = OutsideRecorders(config(), tmp_path, say=print)
    recorders.record(1, {"train/loss": 4.0})
    recorders.finish(SUMMARY)
    refuse_missing_recorders([])
    assert not list(tmp_path.iterdir())


def test_a_recorder_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"^trainer.recorders=wandb needs a package: pip install 'byol-cli\[wandb\]'"):
        refuse_missing_recorders(["wandb"])


@pytest.mark.parametrize("store", ["sqlite:///{}/mlflow.db", "file://{}/mlruns"])
def test_mlflow_keeps_a_run_that_was_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: str) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.format(tmp_path))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "run").mkdir()
    told: list[str] = []
    for step, summary in ((2, {**SUMMARY, "status": "interrupted"}), (3, SUMMARY)):
        recorders = OutsideRecorders(config("mlflow"), tmp_path / "run", say=told.append)
        recorders.record(step, {"train/loss": 4.0 / step, "gauges/feature_std": 0.5})
        recorders.finish(summary)
    assert told == []
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("byol-cli")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads((tmp_path / "run" / "recorders.json").read_text())["mlflow"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["untrained.knn_top1"] == 0.25
    assert run.data.params["backbone.name"] == "resnet_small"
    points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "train/loss")]
    assert points == [(2, 2.0), (3, pytest.approx(4 / 3))]
    assert mlflow.active_run() is None


def test_wandb_keeps_its_run_offline_and_leaves_this_process_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    before = sys.stdout, sys.stderr, sys.excepthook, threading.excepthook
    told: list[str] = []
    for step in (2, 3):
        recorders = OutsideRecorders(config("wandb"), tmp_path, say=told.append)
        recorders.record(step, {"train/loss": 1.0})
        recorders.finish(SUMMARY)
    assert told == []
    known = json.loads((tmp_path / "recorders.json").read_text())["wandb"]
    files = list((tmp_path / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb"))
    assert files
    content = b"".join(file.read_bytes() for file in files)
    assert b"train/loss" in content
    assert b"untrained.knn_top1" in content
    assert (sys.stdout, sys.stderr, sys.excepthook, threading.excepthook) == before
