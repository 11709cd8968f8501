"""Whole runs over folders in which some images cannot be read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from byol_cli.evaluation import evaluator

Command = Callable[..., Any]

WORDS = [
    "dataset=image_folder",
    "dataset.root=photos",
    "dataset.test_fraction=0.2",
    "dataset.selection_fraction=0.2",
    "augmentation.image_size=32",
    "augmentation.evaluation_resize=32",
    "backbone=resnet_small",
    "backbone.widths=[4,8]",
    "backbone.blocks=[1,1]",
    "head=small",
    "evaluation=[knn]",
    "trainer.device=cpu",
    "trainer.batch_size=8",
    "trainer.steps=4",
]
SKIP = ["dataset.on_bad_image=skip", "dataset.max_bad_images=0.2"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 images of two classes."""
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "photos" / ("dark", "light")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        low = 128 * (number % 2)
        pixels = rng.integers(low, low + 128, (30 + number % 5, 34, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.{('png', 'jpg')[number % 3 == 0]}")
    return tmp_path / "photos"


def damage(photos: Path) -> set[str]:
    """One cut off, one empty, one no image, one a dangling link; their paths as the run names them."""
    bad = [photos / name for name in ("dark/00.jpg", "light/07.png", "dark/14.png", "light/21.jpg")]
    bad[0].write_bytes(bad[0].read_bytes()[:-40])
    bad[1].write_bytes(b"")
    bad[2].write_text("<html>404</html>")
    bad[3].unlink()
    bad[3].symlink_to(photos / "nowhere.jpg")
    return {str(path.relative_to(photos.parent)) for path in bad}


def listed(run_dir: Path) -> list[str]:
    return [line.split("\t")[0] for line in (run_dir / "bad_images.txt").read_text().splitlines()]


def summary_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Settings of each k-NN measurement at the end."""
    given: list[dict[str, Any]] = []
    measure = evaluator.measure

    def watched(**named: Any) -> Any:
        results = list(measure(**named))
        given.extend(result.settings for result in results if result.measure == "knn")
        return results

    monkeypatch.setattr(evaluator, "measure", watched)
    return given


def rows(given: dict[str, Any]) -> int:
    return int(given["train_images"] + given["measured_images"])


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_goes_on_without_them_and_lists_them(
    byol_train: Command, byol_eval: Command, photos: Path, measured: list[dict[str, Any]], num_workers: int
) -> None:
    assert byol_train(*WORDS, "hydra.run.dir=whole").code == 0
    assert [rows(given) for given in measured] == [40] * len(measured)
    assert not Path("whole/bad_images.txt").exists()
    measured.clear()
    bad = damage(photos)
    ended = byol_train(*WORDS, *SKIP, f"trainer.num_workers={num_workers}", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    assert sorted(listed(Path("run"))) == sorted(bad)
    assert ended.out.count("goes on without it, and stops above dataset.max_bad_images=0.2 of 40 images") == 1
    assert [rows(given) for given in measured] == [36] * len(measured)
    whole, run = summary_of(Path("whole")), summary_of(Path("run"))
    assert whole.keys() == run.keys()
    assert (run["status"], run["steps"]) == ("done", 4)
    assert 0 <= run["knn_top1"] <= 1
    measured.clear()
    for _ in range(2):  # the second time from kept features
        ended = byol_eval("checkpoint=run", "device=cpu", "evaluation=[knn]")
        assert ended.code == 0, ended.err
        skipped = measured[-1]["skipped_images"]
        told = f"accuracy on the test images: {8 - skipped} of 8, the others cannot be read"
        assert (told in ended.out) == bool(skipped)
        assert f"{run['knn_top1']:.3f}" in ended.out
    assert ended.out.count("warning: left out, as they could not be read when features were kept: 4 images") == 1
    assert [rows(given) for given in measured] == [36] * len(measured)


@pytest.mark.slow
def test_the_weights_do_not_depend_on_the_number_of_workers(byol_train: Command, photos: Path) -> None:
    damage(photos)
    words = [*WORDS, *SKIP]
    weights = []
    for num_workers in (0, 2):
        assert byol_train(*words, f"trainer.num_workers={num_workers}", f"hydra.run.dir=run{num_workers}").code == 0
        weights.append(torch.load(f"run{num_workers}/checkpoints/last.pt", weights_only=True))
    for key, value in weights[0]["online"].items():
        assert torch.equal(value, weights[1]["online"][key]), key


def test_above_the_limit_the_run_stops_in_one_line(byol_train: Command, photos: Path) -> None:
    damage(photos)
    ended = byol_train(*WORDS, "dataset.on_bad_image=skip", "dataset.max_bad_images=0.05", "hydra.run.dir=run")
    assert ended.code == 2
    (line,) = [line for line in ended.err.splitlines() if "cannot be read" in line]
    assert (
        "3 of 40 images cannot be read so far, which is above dataset.max_bad_images=0.05; the first is photos" in line
    )
    assert "run/bad_images.txt lists them" in line
    assert len(listed(Path("run"))) == 3
    assert "Traceback" not in ended.err


def test_without_skip_the_first_one_ends_the_run_by_name(byol_train: Command, photos: Path) -> None:
    cut = photos / "light" / "03.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    ended = byol_train(*WORDS, "hydra.run.dir=run")
    assert ended.code == 2
    assert "photos/light/03.jpg: the image is cut off: the end of its file is missing" in ended.err
    assert "Traceback" not in ended.err


def test_a_run_that_failed_goes_on_once_bad_images_are_skipped(byol_train: Command, photos: Path) -> None:
    """It counts on from the list that is there."""
    bad = damage(photos)
    ended = byol_train(*WORDS, "dataset.on_bad_image=skip", "dataset.max_bad_images=0.05", "hydra.run.dir=run")
    assert ended.code == 2
    before = listed(Path("run"))
    ended = byol_train("resume=run", "dataset.max_bad_images=0.2")
    assert ended.code == 0, ended.err
    after = listed(Path("run"))
    assert after[: len(before)] == before
    assert sorted(after) == sorted(bad)


@pytest.mark.parametrize("value", ["0", "1.5", "nan"])
def test_a_wrong_limit_is_refused(byol_train: Command, photos: Path, value: str) -> None:
    ended = byol_train(*WORDS, f"dataset.max_bad_images={value}", "hydra.run.dir=run")
    assert ended.code == 2
    assert f"dataset.max_bad_images={value}" in ended.err
