"""Resuming with the images, code and folders of a run moved, changed, damaged or oddly named."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from byol_cli.cli.named_again import resume_command
from byol_cli.cli.resume import config_in, requested_run
from byol_cli.training.console import Progress
from byol_cli.training.recorder import read_metrics

Command = Callable[..., Any]
SETTINGS = ["trainer.steps=3", "trainer.log_every_steps=1", "trainer.num_workers=0", "evaluation=[]"]
IMAGES = [
    "dataset=image_folder",
    "dataset.root=photos",
    "augmentation.image_size=32",
    "augmentation.evaluation_resize=32",
    "backbone=resnet_small",
    "head=small",
    "trainer.batch_size=8",
    *SETTINGS,
]


@pytest.fixture
def interrupted(byol_train: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A run in the folder `cut` that is stopped in its first step; returns how it ended."""

    def run(*words: str) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Progress, "advance", lambda self, images: os.kill(os.getpid(), 15))
            ended = byol_train(*words, "hydra.run.dir=cut")
        assert ended.code == 75, ended.err
        return ended

    return run


def printed_words(ended: Any) -> list[str]:
    """What is to be typed, as the shell would split it."""
    program, *words = shlex.split(ended.err.rpartition("go on by: ")[2])
    assert program == "byol-train"
    return words


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(24):
        path = tmp_path / "photos" / str(number % 2) / "raw" / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def test_other_images_are_refused_and_the_same_elsewhere_are_not(
    byol_train: Command, interrupted: Command, photos: Path, tmp_path: Path
) -> None:
    interrupted(*IMAGES)
    image = photos / "0" / "raw" / "0.bmp"
    message = "the images of dataset=image_folder are not those the run began with (number, names, sizes)"
    image.with_name("24.bmp").write_bytes(image.read_bytes())
    ended = byol_train("resume=cut")
    assert (ended.code, message in ended.err) == (2, True), f"one more: {ended.err}"
    image.with_name("24.bmp").unlink()
    image.rename(image.with_name("00.bmp"))
    ended = byol_train("resume=cut")
    assert (ended.code, message in ended.err) == (2, True), f"one renamed: {ended.err}"
    image.with_name("00.bmp").rename(image)
    image.write_bytes(image.read_bytes() + b"\0")
    ended = byol_train("resume=cut")
    assert (ended.code, message in ended.err) == (2, True), f"one of another size: {ended.err}"
    os.truncate(image, image.stat().st_size - 1)
    photos.rename(tmp_path / "elsewhere")
    ended = byol_train("resume=cut")
    assert (ended.code, "dataset.root=photos" in ended.err) == (2, True), ended.err
    ended = byol_train("resume=cut", "dataset.root=elsewhere")
    assert ended.code == 0, ended.err
    assert "changed: dataset.root from photos to elsewhere" in ended.out


def test_other_images_are_taken_where_that_is_forced(byol_train: Command, interrupted: Command, photos: Path) -> None:
    interrupted(*IMAGES)
    (photos / "0" / "raw" / "0.bmp").unlink()
    ended = byol_train("resume=cut", "resume_force=true")
    assert ended.code == 0, ended.err
    assert "warning: the images of dataset=image_folder are not those the run began with" in ended.out


def test_code_of_ones_own_is_imported_only_where_it_is_named_again(
    byol_train: Command, interrupted: Command, tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "resumed_network.py").write_text(
        "from pathlib import Path\nfrom torch import nn\n\nPath('imported').touch()\n\n"
        "def build():\n    return nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.BatchNorm2d(6))\n"
    )
    words = [word for word in tiny if not word.startswith("backbone")]
    ended = interrupted(*words, *SETTINGS, "backbone=custom", "backbone.factory=resumed_network:build")
    for name in ("resumed_network", "imported"):
        sys.modules.pop(name, None)
    (tmp_path / "imported").unlink()
    for added in ([], ["backbone.factory=another_network:build"], ["resume_force=true"]):
        refused = byol_train("resume=cut", *added)
        assert refused.code == 2
        assert "uses code of its own: name it again by backbone.factory=resumed_network:build" in refused.err
    assert not (tmp_path / "imported").exists()
    assert "backbone.factory=resumed_network:build" in printed_words(ended)
    assert byol_train(*printed_words(ended)).code == 0


def test_an_unusual_folder_for_cached_images_has_to_be_named_again(
    byol_train: Command, interrupted: Command, photos: Path
) -> None:
    ended = interrupted(*IMAGES, "dataset.cache=disk", "dataset.cache_dir='kept pixels'")
    refused = byol_train("resume=cut")
    assert refused.code == 2
    assert "decoded images in a folder of its own: name it again by 'dataset.cache_dir=kept pixels'" in refused.err
    assert printed_words(ended) == ["resume=cut", "dataset.cache_dir=kept pixels"]
    assert byol_train(*printed_words(ended)).code == 0


def test_what_a_refusal_says_to_type_can_be_typed(byol_train: Command, interrupted: Command, photos: Path) -> None:
    interrupted(*IMAGES, "dataset.cache=disk", "dataset.cache_dir='kept pixels'")
    refused = byol_train("resume=cut").err
    words = shlex.split(refused.partition("name it again by ")[2].rpartition(" if you trust it")[0])
    assert byol_train("resume=cut", *words).code == 0


NAMES = [
    *("a b", "it's", 'say "so"', "lr=0.1", "a,b", "[1]", "(1)", "{1}", "a:b", "$HOME", "${seed}", "a\\b", "a\\\\"),
    *("zürich/日本", "#1", "a;b", "a&b", "50%", "x!", "~home", "~", "*", "a|b", "<a>", "a`b", "@a", "^", " a ", "a\tb"),
    *("007", "1e3", "1_0", "2026", "true", "null", "nan", "auto", "-m", "--help", "+a", "0x1f"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test to need them leaves runs for the others."""
    return tmp_path_factory.mktemp("done")


@pytest.fixture
def done_run(done: Path, byol_train: Command, tiny: list[str]) -> Path:
    if not (done / "run").exists():
        assert byol_train(*tiny, "trainer.steps=1", "evaluation=[]", f"hydra.run.dir={done}/run").code == 0
    return done / "run"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_that_is_printed_names_the_folder_whatever_it_is_called(name: str, done_run: Path) -> None:
    words = shlex.split(resume_command(Path(name), config_in(done_run)))[1:]
    assert requested_run(words) not in (None, "auto"), words
    assert Path(requested_run(words) or "") == Path(name), words


@pytest.mark.parametrize("name", ["lr=[0.1,a b]", "${seed}", "a\\b", "zürich/日本", "007", 'say "so"'])
def test_the_command_that_is_printed_goes_on_in_that_folder(
    name: str, byol_train: Command, done_run: Path, tmp_path: Path
) -> None:
    (tmp_path / name).mkdir(parents=True)
    for file in ("config.yaml", "summary.json"):
        shutil.copyfile(done_run / file, tmp_path / name / file)
    ended = byol_train(*shlex.split(resume_command(Path(name), config_in(done_run)))[1:])
    assert ended.code == 0, ended.err
    assert f"the run in {name} is done; there is nothing left to do" in ended.out
    assert [path.name for path in tmp_path.iterdir()] == [Path(name).parts[0]]


@pytest.mark.parametrize("name", ["2026", "1e3", "true", "'a b'"])
def test_a_run_folder_may_be_called_what_reads_as_a_number(name: str, byol_train: Command, tmp_path: Path) -> None:
    ended = byol_train("trainer.batch_size=2000", f"hydra.run.dir={name}")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert "trainer.batch_size=2000 must not be above" in ended.err


DAMAGED = {
    "no run": ("empty", lambda run: None, "resume=empty: there is no run in that folder (no config.yaml)"),
    "a file": ("cut/config.yaml", lambda run: None, "there is no run in that folder"),
    "an empty configuration": ("cut", lambda run: (run / "config.yaml").write_text(""), "cut/config.yaml"),
    "garbage": ("cut", lambda run: (run / "config.yaml").write_bytes(b"\xff\0"), "cut/config.yaml cannot be read"),
    "numbers": ("cut", lambda run: (run / "config.yaml").write_text("1: 2"), "cut/config.yaml"),
    "a list": ("cut", lambda run: (run / "config.yaml").write_text("[1]"), "cut/config.yaml"),
    "a list for a name": ("cut", lambda run: change(run, dataset={"name": ["digits"]}), "cut/config.yaml"),
    "a setting too many": ("cut", lambda run: change(run, lrr=1), "cut/config.yaml: lrr: there is no such setting"),
}


def change(run: Path, **values: Any) -> None:
    stored = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**stored, **values}))


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_without_a_checkpoint_gets_one_line(
    case: str, byol_train: Command, interrupted: Command, tiny: list[str], done: Path, tmp_path: Path
) -> None:
    if not (done / "cut").exists():
        interrupted(*tiny, *SETTINGS)
        shutil.copytree(tmp_path / "cut", done / "cut")
    else:
        shutil.copytree(done / "cut", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints")
    (tmp_path / "empty").mkdir()
    folder, damage, message = DAMAGED[case]
    damage(tmp_path / "cut")
    ended = byol_train(f"resume={folder}")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert message in ended.err
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize(
    "garbage", ["\0\n", "[]\n", '{"loss": 1}\n', '{"step": Infinity}\n', '{"step": "x"}\n', "[" * 100_000 + "\n"]
)
@pytest.mark.slow
def test_garbage_among_the_figures_is_told_and_a_cut_line_is_dropped(
    garbage: str, byol_train: Command, interrupted: Command, tiny: list[str], tmp_path: Path
) -> None:
    interrupted(*tiny, *SETTINGS)
    path = tmp_path / "cut" / "metrics.jsonl"
    good = path.read_text()
    path.write_text(f"{good}{garbage}")
    ended = byol_train("resume=cut")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert f"cut/metrics.jsonl: line {1 + good.count(chr(10))} is damaged" in ended.err
    path.write_text(good + '{"step": 2, "tra')
    shutil.rmtree(tmp_path / "cut" / "tensorboard")
    (tmp_path / "cut" / "summary.json").write_text('{"stat')
    ended = byol_train("resume=cut")
    assert ended.code == 0, ended.err
    assert sorted({row["step"] for row in read_metrics(path)}) == [1, 2, 3]
    assert json.loads((tmp_path / "cut" / "summary.json").read_text())["status"] == "done"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_named(
    byol_train: Command, interrupted: Command, tiny: list[str], tmp_path: Path
) -> None:
    interrupted(*tiny, *SETTINGS)
    (tmp_path / "cut" / ".lock").chmod(0o400)
    ended = byol_train("resume=cut")
    assert (ended.code, ended.err) == (2, "byol-train: resume=cut cannot be written to: Permission denied\n")
