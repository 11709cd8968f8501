"""However often a run was interrupted, it ends with the very checkpoint and the very figures of one that never was."""

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tortures.comparison import compare

from byol_cli.training import pretrain
from byol_cli.training.console import Progress

Command = Callable[..., Any]

EPOCH, STEPS = 4, 22
WORDS = (
    "dataset=image_folder dataset.test_fraction=0.1 dataset.selection_fraction=0.1 augmentation.image_size=16 "
    "augmentation.evaluation_resize=16 head.hidden_dim=16 head.output_dim=8 optimizer=sgd trainer.device=cpu "
    f"trainer.batch_size=8 trainer.steps={STEPS} trainer.log_every_steps=1 trainer.probe_every_epochs=2 "
    "trainer.gauges_every_steps=6 evaluation=[]"
).split()
SMALL = "backbone=resnet_small backbone.widths=[4,8] backbone.blocks=[1,1]".split()
OWN = ["backbone=custom", "backbone.factory=tortures.network:build"]  # with dropout; under fp16 gradients overflow
IN_TWO = "trainer.accumulation_steps=2"
IN_THE_MIDDLE, AT_THE_END = EPOCH + 2, 2 * EPOCH  # of an epoch


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of noise in several sizes, 36 of them to train on."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(44):
        pixels = rng.integers(0, 255, (18 + number % 5, 24 - number % 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take as long as all the rest of so short a run."""
    for name in ("save_curves", "save_views"):
        monkeypatch.setattr(pretrain, name, lambda *_: None)


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[int]], None]:
    """Send this process a SIGTERM in each of these steps of a run."""

    def arrange(steps: Iterable[int]) -> None:
        advance, to_come = Progress.advance, set(steps)

        def advance_and_kill(self: Progress, images: int) -> None:
            advance(self, images)
            if (step := self._done // images) in to_come:
                to_come.remove(step)
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Progress, "advance", advance_and_kill)

    return arrange


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "parts"),
    [
        pytest.param(
            [*SMALL, "trainer.precision=fp32"],
            [
                {"steps": [IN_THE_MIDDLE], "workers": [0, 0]},
                {"steps": [AT_THE_END], "workers": [2, 2]},
                {"steps": [IN_THE_MIDDLE, AT_THE_END + 1], "workers": [1, 4, 0]},
            ],
            id="fp32",
        ),
        pytest.param(
            [*SMALL, IN_TWO, "trainer.precision=bf16"],
            [
                {"steps": range(1, 21), "workers": [0] * 21},
                {"steps": [IN_THE_MIDDLE], "workers": [2, 0]},
            ],
            id="bf16, accumulated",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [*OWN, "trainer.precision=fp16"],
            [
                {"steps": [AT_THE_END], "workers": [0, 2]},
                {"steps": [1, IN_THE_MIDDLE], "workers": [0, 0, 0]},
            ],
            id="fp16, dropout",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [*OWN, IN_TWO, "trainer.precision=fp16"], [{"steps": [3], "workers": [1, 0]}], id="fp16, accumulated"
        ),
    ],
)
def test_an_interrupted_run_ends_as_one_that_never_was(
    mode: list[str],
    parts: list[dict[str, Any]],
    byol_train: Command,
    photos: Path,
    tmp_path: Path,
    interrupt_after: Callable[[Iterable[int]], None],
) -> None:
    words = [*WORDS, *mode, f"dataset.root={photos}", "trainer.num_workers=0"]
    ended = byol_train(*words, "hydra.run.dir=whole")
    assert ended.code == 0, ended.err
    assert f"{STEPS} steps, {-(-STEPS // EPOCH)} epochs" in ended.out
    for number, part in enumerate(parts):
        first, *others = (f"trainer.num_workers={workers}" for workers in part["workers"])
        interrupt_after(part["steps"])
        ended = byol_train(*words, first, f"hydra.run.dir={number}")
        for step, workers in zip(part["steps"], others, strict=True):
            assert ended.code == 75, ended.err
            assert f"interrupted and saved at step {step}" in ended.err
            factory = [word for word in mode if word.startswith("backbone.factory=")]
            ended = byol_train(f"resume={number}", workers, *factory)
        assert ended.code == 0, ended.err
        names = compare(tmp_path / "whole", tmp_path / str(number)).names
        assert [name for name in names if not name.endswith(".trainer.num_workers")] == [], part


def test_the_loss_scaler_had_something_to_remember(byol_train: Command, photos: Path, tmp_path: Path) -> None:
    words = [*WORDS, *OWN, "trainer.precision=fp16", f"dataset.root={photos}", "trainer.num_workers=0"]
    assert byol_train(*words, "trainer.steps=12", "hydra.run.dir=run").code == 0
    scaler = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["scaler"]
    assert scaler["scale"] < 2.0**16
    assert scaler["_growth_tracker"] > 0
