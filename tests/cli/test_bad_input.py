"""Bad input gets one line that names the setting, the value and what is allowed; exit code 2; no folder is left."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REFUSED = {
    "misspelt setting": (["optimizer.lrr=1"], "optimizer.lrr: there is no such setting; did you mean lr?"),
    "misspelt group": (["optimzer=adam"], "optimzer: there is no such setting; did you mean optimizer?"),
    "added setting": (["+new=1"], "new: there is no such setting"),
    "forced setting": (["++trainer.epoch=1"], "trainer.epoch: there is no such setting; did you mean epochs?"),
    "removed setting": (["~optimizer.lr"], "optimizer.lr is missing"),
    "wrong type": (["optimizer.lr=abc"], "optimizer.lr=abc must be a number"),
    "fraction for a count": (["trainer.epochs=3.5"], "trainer.epochs=3.5 must be a whole number"),
    "null": (["trainer.epochs=null"], "trainer.epochs=null must be a whole number"),
    "below range": (["optimizer.lr=-1"], "optimizer.lr=-1 must be above 0"),
    "not a number": (["ema.base_tau=nan"], "ema.base_tau=nan must be in [0, 1]"),
    "unknown choice": (["trainer.precision=fp8"], "trainer.precision=fp8 must be one of auto, fp32, bf16, fp16"),
    "unknown device": (["trainer.device=gpu"], "trainer.device=gpu must be one of auto, cpu, cuda, cuda:N, mps"),
    "absent device": (["trainer.device=cuda:99"], "trainer.device=cuda:99: this machine has"),
    "unknown option": (["optimizer=lamb"], "optimizer=lamb must be one of adam, adamw, lars, sgd"),
    "unknown data set": (["dataset=mnist"], "dataset=mnist must be one of cifar10, cifar100, digits"),
    "unknown launcher": (["-m", "hydra/launcher=nope", "seed=1,2"], "hydra/launcher=nope must be one of basic"),
    "option that is no name": (["trainer=[1]"], "trainer=[1] must be one of default"),
    "unknown measurement": (["evaluation=[knn,foo]"], "evaluation=foo must be one of few_label, finetune, knn, linear"),
    "setting of another option": (["dataset.root=x"], "dataset.root belongs to dataset=image_folder"),
    "two warm-ups": (["optimizer.warmup_epochs=1"], "give exactly one, and null for the other"),
    "uneven accumulation": (
        ["trainer.accumulation_steps=3"],
        "trainer.accumulation_steps=3 must divide batch_size=64",
    ),
    "range upside down": (["augmentation.view2.crop.scale=[1.0,0.5]"], "augmentation.view2.crop.scale=[1, 0.5]"),
    "colour on gray": (["augmentation.view1.jitter.hue=0.1"], "augmentation.view1.jitter.hue=0.1 needs 3 channels"),
    "no value": (["backbone=timm"], "backbone.model has no value; give backbone.model=VALUE"),
    "several values": (["optimizer.lr=1,2"], "optimizer.lr=1,2: several values make a sweep, add -m"),
    "unreadable word": (["dataset.root=a=b"], "put a value that holds = , or a bracket in quotes"),
    "unknown flag": (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    "unknown thing to print": (["--cfg", "nope"], "invalid choice: 'nope'"),
    "no folder named": (["dataset=image_folder"], "name the folder of images by dataset.root=FOLDER"),
    "missing folder": (["dataset=image_folder", "dataset.root=nowhere"], "dataset.root=nowhere"),
    "folder without images": (["dataset=image_folder", "dataset.root=empty"], ".jpg"),
    "set not downloaded": (["dataset=cifar10", "dataset.root=here"], "dataset.download=true"),
    "batch above the set": (["trainer.batch_size=2000"], "trainer.batch_size=2000 must not be above the 1294"),
    "missing run": (["resume=nowhere"], "resume=nowhere: there is no run in that folder"),
    "missing weights": (["backbone.weights=nowhere.pt"], "backbone.weights=nowhere.pt"),
    "missing factory": (["backbone=custom", "backbone.factory=no_such_module:build"], "no_such_module"),
    "sweep of nothing": (["-m"], "-m needs a setting with several values"),
    "bad job in a sweep": (["-m", "optimizer.lr=0.1,-3"], "optimizer.lr=-3 must be above 0"),
    "unknown option in a sweep": (["-m", "optimizer=sgd,lamb"], "optimizer=lamb must be one of adam, adamw, lars"),
    "swept data set": (["-m", "dataset=cifar10,stl10"], "sweep over experiment=... instead"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_one_line_and_leaves_nothing(case: str, byol_train: Callable[..., Any], tmp_path: Path) -> None:
    words, message = REFUSED[case]
    (tmp_path / "empty").mkdir()
    ended = byol_train(*words)
    assert ended.code == 2
    lines = ended.err.strip().splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("byol-train: ")
    assert message in lines[0]
    assert "Traceback" not in ended.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "checkpoint has no value; give checkpoint=VALUE"),
        (["checkpoint=nowhere"], "checkpoint=nowhere: neither a checkpoint file nor a run folder"),
        (["checkpoint=notes.txt"], "checkpoint=notes.txt: it is not an archive of torch.save, or it is cut off"),
        (["checkpoint=x", "device=gpu"], "device=gpu must be one of auto, cpu, cuda, cuda:N, mps"),
        (["checkpoint=x", "datset=digits"], "datset: there is no such setting; did you mean dataset?"),
    ],
)
def test_byol_eval_refuses_in_the_same_way(
    words: list[str], message: str, byol_eval: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    ended = byol_eval(*words)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert message in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_a_refusal_keeps_folders_that_were_there(byol_train: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    assert byol_train("trainer.batch_size=2000").code == 2
    assert list(tmp_path.rglob("*")) == [tmp_path / "outputs"]


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"], ["--version"]])
def test_questions_are_answered_without_torch(words: list[str], tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from byol_cli.cli.train import main\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "assert 'torch' not in sys.modules and 'torchvision' not in sys.modules and 'sklearn' not in sys.modules\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert {"--help": "byol-train dataset=image_folder", "--cfg": "base_tau", "--version": "byol-cli "}[
        words[0]
    ] in ended.stdout
