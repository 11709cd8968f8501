"""What commands of one job refuse, in words that say what to type instead; no folder is left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byol_cli.training.ranks import STARTED_BY_TORCHRUN

Command = Callable[..., Any]

EVAL = {
    "a setting of what is not measured": (
        ["evaluation=knn", "evaluation.linear.epochs=3"],
        "evaluation.linear.epochs=3: linear is not among what is measured; evaluation=[knn,linear] adds it",
    ),
    "a backbone": (
        ["backbone=resnet18"],
        "backbone=resnet18: byol-eval takes no backbone: that is byol-train's, kept in the run",
    ),
    "an added backbone": (["+backbone=resnet18"], "+backbone=resnet18: byol-eval takes no backbone"),
    "epochs": (["trainer.epochs=3"], "trainer.epochs=3: byol-eval takes no trainer: that is byol-train's"),
    "a run's folder": (["hydra.run.dir=zz"], "hydra.run.dir=zz: byol-eval has no folder of its own"),
    "a folder of settings": (["hydra.output_subdir=zz"], "hydra.output_subdir=zz: byol-eval has no folder of its own"),
    "no checkpoint": (["checkpoint="], "checkpoint= has no value; name a run folder or a checkpoint file"),
    "a setting of the data set": (["dataset.root=x"], "dataset.root: name its data set too, by dataset=..."),
    "a misspelt setting": (["tnse=true"], "tnse: there is no such setting; did you mean tsne?"),
}


@pytest.mark.parametrize("case", EVAL)
def test_byol_eval_says_what_to_type_instead(byol_eval: Command, tmp_path: Path, case: str) -> None:
    words, told = EVAL[case]
    ended = byol_eval("checkpoint=run", *words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(f"byol-eval: {told}")
    assert not list(tmp_path.iterdir())


def test_what_is_not_taken_is_named_by_the_other_commands_too(byol_embed: Command, byol_export: Command) -> None:
    ended = byol_embed("checkpoint=run", "output=x.npz", "evaluation=[knn]")
    assert ended.err.startswith("byol-embed: evaluation=[knn]: byol-embed takes no evaluation")
    ended = byol_export("checkpoint=run", "format=onnx", "dataset.root=x")
    assert ended.err.startswith("byol-export: dataset.root=x: byol-export takes no dataset")
    for ended in (byol_embed("checkpoint=", "output=x.npz"), byol_export("checkpoint=", "format=onnx")):
        assert "checkpoint= has no value" in ended.err


def test_the_folder_of_a_sweep_is_called_one(byol_eval: Command, tmp_path: Path) -> None:
    for job in "10":
        (tmp_path / "sweep" / job).mkdir(parents=True)
        (tmp_path / "sweep" / job / "config.yaml").touch()
    ended = byol_eval("checkpoint=sweep", "device=cpu")
    told = "checkpoint=sweep is the folder of several runs; name one of them, such as sweep/0"
    assert (ended.code, ended.err) == (2, f"byol-eval: {told}\n")


def test_the_help_of_byol_eval_names_what_it_takes_and_nothing_else(byol_eval: Command) -> None:
    ended = byol_eval("--help")
    assert ended.code == 0
    for setting in ("tsne", "seed", "feature_cache", "batch_size", "precision", "num_workers", "backbone_factory"):
        assert f"{setting}=" in ended.out
    for option in ("linear", "knn", "few_label", "logistic", "finetune", "supervised", "retrieval"):
        assert option in ended.out
    assert "optimizer" not in ended.out
    assert "imagenet_300" not in ended.out


def test_several_processes_are_refused(byol_eval: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STARTED_BY_TORCHRUN:
        monkeypatch.setenv(name, "2" if "WORLD" in name else "0")
    ended = byol_eval("checkpoint=run")
    told = "byol-eval: torchrun starts 2 processes, and byol-eval works in one; start it without\n"
    assert (ended.code, ended.err) == (2, told)
