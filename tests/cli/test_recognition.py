"""Search and verification where classes are new: in the run's own data, in another data set, in a root of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., Any]
SMALL = [
    "dataset=image_folder",
    "backbone=resnet_small",
    "backbone.widths=[4,8]",
    "backbone.blocks=[1,1]",
    "head=small",
    "augmentation.image_size=16",
    "augmentation.evaluation_resize=16",
    "trainer.batch_size=8",
    "trainer.steps=2",
    "trainer.device=cpu",
]
SEARCH = ["checkpoint=run", "device=cpu", "dataset=image_folder", "evaluation=retrieval"]


def write_images(folder: Path, *, classes: int, images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in range(classes):
        (folder / f"class{name}").mkdir(parents=True)
        look = rng.integers(0, 255, (16, 16, 3))
        for number in range(images):
            pixels = np.clip(look + rng.normal(0, 20, look.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class{name}" / f"{number}.png")


@pytest.fixture
def run_dir(tmp_path: Path, byol_train: Command) -> Path:
    """A run on nested folders without labels; beside it products/, 10 classes of 6 images, and few/, two of its own."""
    write_images(tmp_path / "photos" / "2024", classes=2, images=10, seed=0)
    write_images(tmp_path / "products", classes=10, images=6, seed=1)
    write_images(tmp_path / "few", classes=2, images=6, seed=2)
    ended = byol_train(*SMALL, "dataset.root=photos", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    (tmp_path / "run" / "evaluations.jsonl").unlink()
    return tmp_path / "run"


def searches(run_dir: Path) -> list[tuple[str, int]]:
    rows = [json.loads(line) for line in (run_dir / "evaluations.jsonl").read_text().splitlines()]
    return [
        (row["measured_on"], row["settings"].get("images"))
        for row in rows
        if row["measure"] == "retrieval" and row["representation"] == "trained"
    ]


def test_all_images_of_another_data_set_are_searched(run_dir: Path, byol_eval: Command) -> None:
    ended = byol_eval(*SEARCH, "dataset.root=products")
    assert ended.code == 0, ended.err
    assert "among 60 images (all)" in ended.out
    assert "search and verification among all labelled images" in ended.out
    assert searches(run_dir) == [("all", 60)]


def test_of_the_runs_own_images_those_held_out_are_searched_unless_all_are_asked_for(
    run_dir: Path, byol_train: Command, byol_eval: Command
) -> None:
    ended = byol_train(*SMALL, "dataset.root=products", "hydra.run.dir=own", "evaluation=[knn]")
    assert ended.code == 0, ended.err
    words = ["checkpoint=own", *SEARCH[1:], "dataset.root=products"]
    ended = byol_eval(*words)
    assert ended.code == 2
    assert "evaluation.retrieval.among=all takes all labelled images" in ended.err
    ended = byol_eval(*words, "evaluation.retrieval.among=all")
    assert ended.code == 0, ended.err
    assert searches(run_dir.parent / "own") == [("all", 60)]


def test_a_labelled_test_root_is_enough(run_dir: Path, byol_eval: Command) -> None:
    ended = byol_eval(*SEARCH, "dataset.root=photos", "dataset.test_root=products")
    assert ended.code == 0, ended.err
    assert searches(run_dir) == [("test", 60)]


def test_classes_that_training_lacks_are_searched_but_no_accuracy_is_measured_on_them(
    run_dir: Path, byol_eval: Command
) -> None:
    words = ["dataset.root=few", "dataset.test_root=products", "evaluation.retrieval.among=test"]
    assert byol_eval(*SEARCH, *words).code == 0
    assert searches(run_dir) == [("test", 60)]
    ended = byol_eval(*SEARCH[:3], *words[:2], "evaluation=[knn,retrieval]")
    assert ended.code == 2
    assert ended.err == (
        "byol-eval: dataset.test_root: no training image is of class class2, they are of 2 classes (class0, class1); "
        "evaluation=[retrieval] alone takes classes that are new\n"
    )


def test_a_file_of_pairs_has_a_line_of_its_own(run_dir: Path, byol_eval: Command) -> None:
    rows = ["products/class0/0.png,products/class0/1.png,1", "products/class0/0.png,products/class1/0.png,0"]
    Path("pairs.csv").write_text("\n".join(["path1,path2,same", *rows]))
    ended = byol_eval(*SEARCH, "dataset.root=products", "evaluation.retrieval.pairs=pairs.csv")
    assert ended.code == 0, ended.err
    assert "verification of the named pairs" in ended.out
    assert searches(run_dir) == [("all", 60), ("pairs", None)]
