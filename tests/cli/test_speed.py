"""What a run does to be fast, and says when it is not: cached images, compiled networks, waiting for files."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from byol_cli.data import images as images_module
from byol_cli.data.decode import decode_data
from byol_cli.training.recorder import read_metrics

Command = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, tiny: list[str]) -> list[str]:
    """Overrides for a short run over 60 noisy pictures in two class folders."""
    rng = np.random.default_rng(0)
    for number in range(60):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    return [
        *tiny,
        "dataset=image_folder",
        "dataset.root=photos",
        "augmentation=byol_32",
        "backbone=resnet_small",
        "head=small",
        "head.hidden_dim=16",
        "trainer.batch_size=8",
        "trainer.steps=12",
        "trainer.log_every_steps=2",
        "trainer.num_workers=0",
        "hydra.run.dir=run",
    ]


def final_weights(run_dir: Path) -> list[torch.Tensor]:
    checkpoint = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    return list(checkpoint["online"].values())


@pytest.mark.slow
def test_waiting_for_images_is_logged_and_told_once_with_a_remedy(
    byol_train: Command, folder: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(data: bytearray, channels: int, *, path: str) -> torch.Tensor:
        time.sleep(0.01)
        return decode_data(data, channels, path=path)

    monkeypatch.setattr(images_module, "decode_data", slowly)
    ended = byol_train(*folder)
    assert ended.code == 0, ended.err
    told = [line for line in ended.err.splitlines() if "spent waiting for images" in line]
    assert len(told) == 1
    assert "dataset.cache=disk" in told[0]
    shares = [
        row["train/data_wait_share"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "train/loss" in row
    ]
    assert len(shares) == 6
    assert all(0.1 < share <= 1 for share in shares)


def test_a_set_in_memory_never_complains_of_files(byol_train: Command, tiny: list[str]) -> None:
    ended = byol_train(*tiny, "trainer.steps=8", "trainer.log_every_steps=1", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    assert "waiting for images" not in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["disk", "ram"])
def test_a_cache_of_the_whole_pictures_changes_no_weight(
    byol_train: Command, folder: list[str], tmp_path: Path, cache: str
) -> None:
    plain = byol_train(*folder, "hydra.run.dir=plain")
    cached = byol_train(*folder, f"dataset.cache={cache}", "dataset.cache_dir=kept", "trainer.num_workers=1")
    assert (plain.code, cached.code) == (0, 0), cached.err
    for ours, theirs in zip(final_weights(tmp_path / "run"), final_weights(tmp_path / "plain"), strict=True):
        assert torch.equal(ours, theirs)
    smaller = byol_train(
        *folder,
        f"dataset.cache={cache}",
        "dataset.cache_dir=kept",
        "dataset.cache_short_side=32",
        "hydra.run.dir=smaller",
    )
    assert smaller.code == 0, smaller.err
    assert not all(map(torch.equal, final_weights(tmp_path / "run"), final_weights(tmp_path / "smaller")))


def test_deepmind_s_formulas_train_and_differ(byol_train: Command, folder: list[str], tmp_path: Path) -> None:
    ours = byol_train(*folder)
    theirs = byol_train(*folder, "augmentation.formulas=deepmind", "hydra.run.dir=theirs")
    assert (ours.code, theirs.code) == (0, 0), theirs.err
    assert not all(map(torch.equal, final_weights(tmp_path / "run"), final_weights(tmp_path / "theirs")))
    summary = json.loads((tmp_path / "theirs" / "summary.json").read_text())
    assert summary["status"] == "done"


def test_where_compiling_fails_the_run_goes_on_uncompiled(
    byol_train: Command, folder: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("no compiler here")

    plain = byol_train(*folder, "hydra.run.dir=plain")
    monkeypatch.setattr(torch, "compile", broken)
    ended = byol_train(*folder, "trainer.compile=true")
    assert (plain.code, ended.code) == (0, 0), ended.err
    assert "run uncompiled: no compiler here" in ended.err
    for ours, theirs in zip(final_weights(tmp_path / "run"), final_weights(tmp_path / "plain"), strict=True):
        assert torch.equal(ours, theirs)
