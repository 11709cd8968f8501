"""`byol-export` from the command line."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

Command = Callable[..., Any]

FACTORY = """
from torch import nn

def build(in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU())
"""


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test to need it leaves a trained run for the others."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def run_dir(kept_run: Path, byol_train: Command, tiny: list[str]) -> Path:
    """A run of two steps."""
    if not kept_run.exists():
        ended = byol_train(*tiny, "trainer.steps=2", "evaluation=[knn]", f"hydra.run.dir={kept_run}")
        assert ended.code == 0, ended.err
    return kept_run


def test_a_run_is_exported_with_its_card_and_its_figures(run_dir: Path, byol_export: Command, tmp_path: Path) -> None:
    ended = byol_export(f"checkpoint={run_dir}", "format=safetensors", "output=new/digits.safetensors")
    assert ended.code == 0, ended.err
    assert "step 2 of a run on digits" in ended.out
    assert "model card: new/digits.card.md" in ended.out
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["digits.card.md", "digits.safetensors"]
    summary = json.loads((run_dir / "summary.json").read_text())
    card = (tmp_path / "new" / "digits.card.md").read_text()
    assert f"| trained | - | {summary['knn_top1']:.3f} | - |" in card
    assert f"| raw pixels | - | {summary['pixels']['knn_top1']:.3f} | - |" in card
    with safe_open(tmp_path / "new" / "digits.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["measured"])["knn_top1"] == summary["knn_top1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_without_output_it_lies_in_the_run_and_is_not_replaced_unasked(run_dir: Path, byol_export: Command) -> None:
    words = (f"checkpoint={run_dir}/checkpoints/last.pt", "format=safetensors")
    assert byol_export(*words).code == 0
    path = run_dir / "export" / "safetensors" / "resnet_small.safetensors"
    assert path.is_file()
    again = byol_export(*words)
    assert again.code == 2
    assert again.err == f"byol-export: output={path} is there already; overwrite=true replaces it\n"
    assert byol_export(*words, "overwrite=true").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["format=torchvision"], r"format=torchvision: torchvision has no resnet_small; format=safetensors and"),
        (["format=keras"], r"format=keras must be one of torchvision, timm, safetensors, onnx"),
        (["format=onnx", "output=x.pth"], r"output=x\.pth must end in \.onnx for format=onnx"),
        (["format=safetensors", "overwrite=1"], r"overwrite=1 must be true or false"),
        ([], r"format has no value; give format=VALUE"),
        (["format=safetensors", f"output={'a' * 240}.safetensors"], r"a+\.\.\.: File name too long"),
        (["format=onnx,timm"], r"format=onnx,timm: byol-export does one job at a time; a list is written in brackets"),
        (["format=onnx", "-m"], r"-m: byol-export does one job at a time"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    run_dir: Path, byol_export: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    ended = byol_export(f"checkpoint={run_dir}", *words)
    assert ended.code == 2
    assert re.fullmatch(rf"byol-export: {message}.*\n", ended.err)
    assert not list(tmp_path.iterdir())


def test_an_interruption_is_one_line_and_leaves_nothing(
    run_dir: Path, byol_export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol_cli.export import formats

    monkeypatch.setattr(formats, "card", lambda *words: os.kill(os.getpid(), signal.SIGTERM))
    words = (f"checkpoint={run_dir}", "format=safetensors", "output=x.safetensors")
    ended = byol_export(*words)
    assert (ended.code, ended.err) == (75, f"byol-export: interrupted; go on by: byol-export {' '.join(words)}\n")
    assert not list(tmp_path.iterdir())


def test_a_missing_checkpoint_is_one_line(byol_export: Command) -> None:
    ended = byol_export("checkpoint=nowhere", "format=onnx")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "checkpoint=nowhere: neither a checkpoint file nor a run folder" in ended.err


def test_code_of_your_own_is_named_again(
    byol_train: Command, byol_export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_export_module.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    factory = "my_export_module:build"
    trained = byol_train(
        "backbone=custom",
        f"backbone.factory={factory}",
        "head.hidden_dim=8",
        "head.output_dim=4",
        "trainer.steps=1",
        "trainer.device=cpu",
        "evaluation=[knn]",
        "hydra.run.dir=run",
    )
    assert trained.code == 0, trained.err
    words = ("checkpoint=run", "format=safetensors", "output=x.safetensors")
    refused = byol_export(*words)
    assert refused.code == 2
    assert f"name it by backbone_factory={factory} if you trust it" in refused.err
    assert byol_export(*words, f"backbone_factory={factory}").code == 0
    with safe_open("x.safetensors", framework="pt") as file:
        assert file.get_tensor("0.weight").shape == (4, 1, 3, 3)
    refused = byol_export("checkpoint=run", "format=timm", "output=y.safetensors", f"backbone_factory={factory}")
    assert refused.err == (
        f"byol-export: format=timm: {factory} is code of your own, not timm's; "
        "format=safetensors and format=onnx take it\n"
    )


def test_a_checkpoint_of_other_weights_than_its_backbone_is_one_line(
    run_dir: Path, byol_export: Command, tmp_path: Path
) -> None:
    checkpoint = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    name = next(name for name in checkpoint["online"] if name.startswith("backbone."))
    checkpoint["online"][name] = checkpoint["online"][name][:1]
    torch.save(checkpoint, tmp_path / "other.pt")
    ended = byol_export("checkpoint=other.pt", "format=safetensors", "output=x.safetensors")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.pt"]
