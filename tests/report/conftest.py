"""A run's folder, as training and measuring leave it, and a gallery beside it."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from byol_cli.report.gallery import Gallery
from byol_cli.training.pictures import save_views, view_grid
from byol_cli.training.recorder import Recorder

HOSTILE = '<script>window.hacked = 1</script>"><img src=x onerror="window.hacked = 1">'
CLASSES = ["cat", "dog & wolf", HOSTILE]
CONFUSION = [[8, 1, 1], [0, 9, 1], [3, 0, 7]]


def gallery_of(number: int, *, size: int = 16, channels: int = 1, labelled: bool = True) -> Gallery:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(number) % 3
    features = torch.eye(3)[labels].repeat(1, 4) + 0.3 * torch.randn(number, 12, generator=draw)
    return Gallery(
        thumbnails=torch.randint(0, 256, (number, channels, size, size), generator=draw, dtype=torch.uint8),
        features=features,
        labels=labels if labelled else None,
        class_names=tuple(CLASSES) if labelled else (),
        names=tuple(f"photos/{place} {HOSTILE}.jpg" for place in range(number)),
        origin=f"all {number:,} test images of digits",
        step=60,
    )


@pytest.fixture
def make_sample() -> Callable[..., Gallery]:
    """A gallery of noise, in three classes whose features lie apart."""
    return gallery_of


@pytest.fixture
def sample() -> Gallery:
    """One of 60 small gray images."""
    return gallery_of(60)


@pytest.fixture
def make_evaluation() -> Callable[..., dict[str, Any]]:
    """A line of evaluations.jsonl."""
    return evaluation


def evaluation(representation: str, top1: float, **more: Any) -> dict[str, Any]:
    line = {
        "measure": "linear",
        "representation": representation,
        "measured_on": "test",
        "figures": {"top1": top1, "top5": 1.0},
        "settings": {"epochs": 80},
        "interval": {"top1": [top1 - 0.02, top1 + 0.02]},
        "per_class": None,
        "confusion": None,
        "dataset": "digits",
        "classes": CLASSES,
        "versions": {"torch": "2.14.1", "processor": "a processor"},
    }
    return line | more


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """What a run of three epochs and its measurement leave."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = {
        "name": "digits",
        "seed": 0,
        "dataset": {"name": "digits", "root": f"/photos/{HOSTILE}"},
        "augmentation": {"image_size": 16},
        "backbone": {"name": "resnet_small"},
        "loss": {"name": "byol"},
        "optimizer": {"name": "sgd", "lr": 0.3},
        "ema": {"name": "cosine", "base_tau": 0.98},
        "trainer": {"epochs": 3, "steps": None, "batch_size": 64},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    recorder = Recorder(folder, start_step=0, say=print)
    views = torch.rand(4, 1, 16, 16)
    grid = view_grid(views, 1 - views, mean=torch.zeros(1), std=torch.ones(1))
    save_views(folder / "views.png", grid)
    recorder.picture("views", grid)
    for step in range(10, 70, 10):
        recorder.record(step, {"train/loss": 4 * math.exp(-step / 50), "train/lr": 0.3 - step / 1000})
        gauges = {"feature_std": 0.6, "effective_rank": 0.2, "mean_cosine": 0.5}
        recorder.record(step, {f"gauges/{name}": value for name, value in gauges.items()})
    recorder.record(60, {"probe/knn_top1": 0.889})
    recorder.close()
    accuracies = dict(zip(CLASSES, (0.8, 0.9, 0.7), strict=True))
    trained = evaluation("trained", 0.978, per_class=accuracies, confusion=CONFUSION)
    write_lines(folder / "evaluations.jsonl", [trained, evaluation("untrained", 0.905), evaluation("pixels", 0.972)])
    (folder / "bad_images.txt").write_text(f"photos/{HOSTILE}.jpg\tis no image\n")
    (folder / "summary.json").write_text(json.dumps({"status": "done", "steps": 60, "epochs": 3.0, "seconds": 5.2}))
    return folder


SWEEP = """job,overrides,status,selection_score,linear_top1,knn_top1,few_label_top1,seconds,message
1,optimizer.lr=0.3 optimizer=sgd,done,0.958,0.978,0.981,0.934,71.2,
0,optimizer.lr=0.003 optimizer=adam,done,0.941,0.969,0.969,0.901,69.9,
2,optimizer.lr=3.0 optimizer=sgd,stopped,,,,,12.0,the loss is <b>not</b> finite
"""


@pytest.fixture
def sweep_dir(tmp_path: Path) -> Path:
    """The folder of a sweep of three jobs, one of which has a report."""
    folder = tmp_path / "sweep"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "report.html").touch()
    (folder / "sweep.csv").write_text(SWEEP)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's chromium without a window; the tests that need it are skipped where there is none."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and its driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    for flag in flags.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    os.environ["SE_OFFLINE"] = "true"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={profile}")
        driven = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield driven
        finally:
            driven.quit()
