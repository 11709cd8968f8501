"""Whole runs of `byol-train` and `byol-eval`: what they leave, go on from, measure and say."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from byol_cli.cli.job_folder import job_name
from byol_cli.training.console import Progress
from byol_cli.training.recorder import read_metrics

Command = Callable[..., Any]
SCORES = ("linear_top1", "knn_top1", "few_label_top1")


def summary_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


def weights_of(run_dir: Path) -> dict[str, Any]:
    return torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)


def same(left: Any, right: Any) -> bool:
    """Whether two checkpoints' parts are equal bit for bit."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Send this process a SIGTERM in the given step of the next run."""

    def arrange(step: int) -> None:
        steps = iter(range(1, 10**6))
        advance = Progress.advance

        def advance_and_kill(self: Progress, images: int) -> None:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGTERM)
            advance(self, images)

        monkeypatch.setattr(Progress, "advance", advance_and_kill)

    return arrange


def test_a_run_leaves_its_folder_and_byol_eval_measures_the_same(
    byol_train: Command, byol_eval: Command, tiny: list[str], tmp_path: Path
) -> None:
    measured = ["evaluation.linear.epochs=4", "evaluation.few_label.draws=2"]
    ended = byol_train(*tiny, *measured, "trainer.steps=12", "trainer.log_every_steps=5", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    run_dir = tmp_path / "run"
    expected = [
        ".lock",
        "checkpoints",
        "classes.png",
        "config.yaml",
        "confusion.png",
        "curves.png",
        "embedding.png",
        "evaluations.jsonl",
        "metrics.jsonl",
        "neighbors.png",
        "report.html",
        "summary.json",
        "tensorboard",
        "views.png",
    ]
    assert sorted(path.name for path in run_dir.iterdir()) == expected
    summary = summary_of(run_dir)
    assert (summary["status"], summary["steps"], summary["images_per_second"] > 0) == ("done", 12, True)
    for scores in (summary, summary["untrained"], summary["pixels"]):
        assert all(0 < scores[name] < 1 for name in SCORES)
    for word in ("1,294 images", "resnet_small", "64 images, 12 steps", "0.3", "cpu", "run folder: run"):
        assert word in ended.out
    for name in ("views.png", "curves.png"):
        assert min(Image.open(run_dir / name).size) > 100
    logged = [row["step"] for row in read_metrics(run_dir / "metrics.jsonl") if "train/loss" in row]
    assert logged == [5, 10, 12]
    assert list((run_dir / "tensorboard").iterdir())
    table = ended.out[ended.out.index("accuracy on") : ended.out.index("run folder")].strip()
    for name, value in zip(SCORES, [f"{summary[name]:.3f}" for name in SCORES], strict=True):
        assert value in table, name
    evaluated = byol_eval("checkpoint=run", "device=cpu", *measured)
    assert evaluated.code == 0, evaluated.err
    assert table in evaluated.out


def test_byol_eval_measures_on_another_data_set_with_labels(
    byol_train: Command, byol_eval: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert byol_train(*tiny, "trainer.steps=2", "evaluation=[]", "hydra.run.dir=run").code == 0
    rng = np.random.default_rng(0)
    for number in range(60):
        low = 170 * (number % 2)
        folder = tmp_path / "shades" / ("light" if low else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(low, low + 85, (20, 20, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    before = (tmp_path / "run" / "checkpoints" / "last.pt").read_bytes()
    words = [
        "dataset=image_folder",
        "dataset.root=shades",
        "dataset.test_fraction=0.3",
        "evaluation=[linear]",
        "device=cpu",
    ]
    ended = byol_eval("checkpoint=run", *words)
    assert ended.code == 0, ended.err
    (row,) = [line for line in ended.out.splitlines() if line.startswith("trained backbone")]
    assert float(row.split()[2]) > 0.9  # light and dark are easily told apart; by chance it is 0.5
    assert (tmp_path / "run" / "checkpoints" / "last.pt").read_bytes() == before


def test_an_interrupted_run_goes_on_to_the_same_weights(
    byol_train: Command, tiny: list[str], tmp_path: Path, interrupt_at: Callable[[int], None]
) -> None:
    words = [*tiny, "trainer.steps=14", "evaluation=[knn]", "trainer.log_every_steps=2"]
    assert byol_train(*words, "hydra.run.dir=whole").code == 0
    interrupt_at(6)
    ended = byol_train(*words, "hydra.run.dir=cut")
    assert ended.code == 75
    assert "byol-train: interrupted and saved at step 6; go on by: byol-train resume=cut" in ended.err
    assert summary_of(tmp_path / "cut")["status"] == "interrupted"
    ended = byol_train("resume=cut")
    assert ended.code == 0, ended.err
    assert "going on from step 6 of 14" in ended.out
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    for part in ("step", "epoch", "online", "target", "optimizer", "scaler"):
        assert same(whole[part], cut[part]), part
    steps = [row["step"] for row in read_metrics(tmp_path / "cut" / "metrics.jsonl") if "train/loss" in row]
    assert steps == [2, 4, 6, 8, 10, 12, 14]
    assert "is done; there is nothing left to do" in byol_train("resume=cut").out


def test_resume_changes_only_what_leaves_the_course_alone(
    byol_train: Command, tiny: list[str], interrupt_at: Callable[[int], None]
) -> None:
    interrupt_at(2)
    assert byol_train(*tiny, "trainer.steps=4", "evaluation=[knn]", "hydra.run.dir=cut").code == 75
    refused = byol_train("resume=cut", "optimizer.lr=0.1")
    assert refused.code == 2
    assert "resume=cut is another run: optimizer.lr is 0.3 there and 0.1 here" in refused.err
    refused = byol_train(*tiny, "hydra.run.dir=cut")
    assert refused.code == 2
    assert "holds a run already; resume=cut goes on with it" in refused.err
    config = Path("cut/config.yaml").rename("kept.yaml")
    refused = byol_train(*tiny, "hydra.run.dir=cut")
    assert (refused.code, "holds the checkpoints of a run whose config.yaml is gone" in refused.err) == (2, True)
    config.rename("cut/config.yaml")
    assert byol_train("resume=cut", "trainer.log_every_steps=1").code == 0


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    byol_train: Command, byol_eval: Command, tiny: list[str], tmp_path: Path
) -> None:
    words = [*tiny, "trainer.steps=4", "trainer.keep_every=2", "evaluation=[knn]"]
    assert byol_train(*words, "hydra.run.dir=run").code == 0
    whole = weights_of(tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    damage(folder / "step_00000004.pt")  # last.pt is a name of the same file
    ended = byol_eval("checkpoint=run")
    assert ended.code == 0
    named = "run/checkpoints/step_00000004.pt: its SHA-256 is not in step_00000004.pt.sha256; the file is damaged"
    assert f"warning: checkpoint={named}" in ended.out
    assert "the checkpoint before it is used, run/checkpoints/step_00000002.pt of step 2" in ended.out
    (tmp_path / "run" / "summary.json").unlink()
    ended = byol_train("resume=run")
    assert ended.code == 0, ended.err
    assert f"warning: resume={named}" in ended.out
    assert "going on from step 2 of 4" in ended.out
    assert same(whole, weights_of(tmp_path / "run"))
    for path in folder.glob("*.pt"):
        damage(path)
    refused = byol_eval("checkpoint=run")
    assert refused.code == 2
    assert "no other checkpoint in run/checkpoints is good" in refused.err


def damage(path: Path) -> None:
    """Flip one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def write_images(folder: Path) -> None:
    """Nested folders of gray, colour, transparent, 16-bit and odd-sized images."""
    rng = np.random.default_rng(0)
    for number in range(24):
        place = folder / ["2019", "2020/summer", "2020/winter/night"][number % 3]
        place.mkdir(parents=True, exist_ok=True)
        size = [(40, 30), (17, 90), (64, 64), (9, 9)][number % 4]
        colour = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        match number % 6:
            case 0:
                Image.fromarray(colour).save(place / f"{number}.jpg")
            case 1:
                Image.fromarray(colour[..., 0]).save(place / f"{number}.png")
            case 2:
                Image.fromarray(np.dstack([colour, colour[..., :1]])).save(place / f"{number}.png")
            case 3:
                Image.fromarray(colour[..., 0].astype(np.uint16) * 257).save(place / f"{number}.png")
            case 4:
                Image.fromarray(colour).quantize(16).save(place / f"{number}.gif")
            case 5:
                Image.fromarray(colour).convert("CMYK").save(place / f"{number}.jpeg")


FOLDER = [
    "dataset=image_folder",
    "dataset.root=photos",
    "augmentation.image_size=32",
    "augmentation.evaluation_resize=32",
    "backbone=resnet_small",
    "head=small",
    "trainer.device=cpu",
    "trainer.batch_size=8",
    "trainer.steps=3",
]


def test_any_folder_trains_without_a_label(byol_train: Command, byol_eval: Command, tmp_path: Path) -> None:
    write_images(tmp_path / "photos")
    ended = byol_train(*FOLDER, "hydra.run.dir=run", "trainer.num_workers=1", "dataset.selection_fraction=0.2")
    assert ended.code == 0, ended.err
    summary = summary_of(tmp_path / "run")
    assert summary["status"] == "done"
    assert all(summary[name] is None and summary["untrained"][name] is None for name in SCORES)
    assert 0 < summary["effective_rank"] <= 1
    assert "no labels" in ended.out
    assert "effective rank" in byol_eval("checkpoint=run", "device=cpu").out


def test_the_article_recipe_runs_with_a_network_of_ones_own(
    byol_train: Command, byol_eval: Command, tmp_path: Path
) -> None:
    write_images(tmp_path / "photos")
    (tmp_path / "own_network.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 9, 3))\n"
    )
    words = [
        *FOLDER[:4],
        "backbone=custom",
        "backbone.factory=own_network:build",
        "trainer.batch_size=8",
        "trainer.epochs=1",
    ]
    ended = byol_train(
        "experiment=article", "loss=article_consistency", *words, "trainer.device=cpu", "hydra.run.dir=run"
    )
    assert ended.code == 0, ended.err
    assert "custom, 675 parameters, 9 features" in ended.out
    refused = byol_eval("checkpoint=run", "device=cpu")
    assert refused.code == 2
    assert "name it by backbone_factory=own_network:build if you trust it" in refused.err
    assert byol_eval("checkpoint=run", "device=cpu", "backbone_factory=own_network:build").code == 0


def test_a_sweep_survives_a_failing_job_and_leaks_nothing(byol_train: Command, tiny: list[str], tmp_path: Path) -> None:
    words = [*tiny, "trainer.steps=3", "evaluation=[knn]"]
    ended = byol_train("-m", *words, "trainer.batch_size=64,5000,32", "hydra.sweep.dir=sweep")
    assert ended.code == 0, ended.err
    assert "[job 2 of 3] trainer.batch_size=5000" in ended.err
    assert "trainer.batch_size=5000 must not be above the 1294 training images" in ended.err
    rows = (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()
    assert rows[0].startswith("job,overrides,status,selection_score,linear_top1,knn_top1,few_label_top1,seconds")
    assert [row.split(",")[2] for row in rows[1:]] == ["done", "done", "failed"]
    scores = [float(row.split(",")[3]) for row in rows[1:3]]
    assert scores == sorted(scores, reverse=True)
    table = ended.out[ended.out.rindex("job         overrides") :]
    assert [line.split()[2] for line in table.splitlines()[1:4]] == ["done", "done", "failed"]
    assert byol_train(*words, "trainer.batch_size=32", "hydra.run.dir=alone").code == 0
    last = tmp_path / "sweep" / job_name([*words, "trainer.batch_size=32"])
    assert same(weights_of(last)["online"], weights_of(tmp_path / "alone")["online"])


def test_a_run_that_came_to_no_checkpoint_starts_over(byol_train: Command, tiny: list[str], tmp_path: Path) -> None:
    words = [*tiny, "trainer.steps=3", "evaluation=[knn]"]
    assert byol_train(*words, "hydra.run.dir=whole").code == 0
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text((tmp_path / "whole" / "config.yaml").read_text())
    ended = byol_train("resume=begun")
    assert ended.code == 0, ended.err
    assert "going on from step 0 of 3" in ended.out
    assert same(weights_of(tmp_path / "whole")["target"], weights_of(tmp_path / "begun")["target"])


def test_starting_from_given_weights_begins_with_them(byol_train: Command, tiny: list[str], tmp_path: Path) -> None:
    words = [
        *tiny,
        "trainer.steps=1",
        "evaluation=[knn]",
        "optimizer.lr=1e-30",
        "ema.base_tau=1",
        "optimizer.weight_decay=0",
    ]
    assert byol_train(*words, "seed=1", "hydra.run.dir=first").code == 0
    given = tmp_path / "first" / "checkpoints" / "last.pt"
    assert byol_train(*words, f"backbone.weights={given}", "hydra.run.dir=second").code == 0
    refused = byol_train(*words, "backbone.widths=[4,6]", f"backbone.weights={given}")
    assert refused.code == 2
    assert "does not fit" in refused.err
    assert "different shape" in refused.err
    first, second = weights_of(tmp_path / "first")["online"], weights_of(tmp_path / "second")
    for network in ("online", "target"):
        key = next(name for name in first if name.startswith("backbone.") and first[name].dim() == 4)
        assert torch.equal(first[key], second[network][key])


SHORT_DEMO = ["trainer.steps=100", "trainer.gauges_every_steps=25", "trainer.device=cpu", "evaluation=[knn]"]


@pytest.mark.slow
def test_without_the_predictor_the_demo_collapses_and_says_so(byol_train: Command, tmp_path: Path) -> None:
    ended = byol_train(*SHORT_DEMO, "head.predictor=false", "hydra.run.dir=warned")
    assert ended.code == 0
    assert "warning: step 25: the representation is collapsing: feature std 0.0" in ended.err
    ended = byol_train(*SHORT_DEMO, "head.predictor=false", "trainer.on_collapse=stop", "hydra.run.dir=stopped")
    assert ended.code == 3
    assert "byol-train: step 25: the representation is collapsing" in ended.err.splitlines()[-1]
    assert summary_of(tmp_path / "stopped")["status"] == "stopped"
    # Its loss looks better than ever: this is why the gauges are there.
    rows = read_metrics(tmp_path / "warned" / "metrics.jsonl")
    assert [row["train/loss"] for row in rows if "train/loss" in row][-1] < 0.1


def test_a_run_that_diverges_ends_and_says_so(byol_train: Command, tiny: list[str], tmp_path: Path) -> None:
    words = ["trainer.steps=20", "trainer.log_every_steps=1", "optimizer.lr=1e30", "optimizer.warmup_fraction=0"]
    ended = byol_train(*tiny, *words, "hydra.run.dir=run")
    assert ended.code == 3
    assert "the loss or its gradient is not finite; try a lower optimizer.lr" in ended.err.splitlines()[-1]
    assert summary_of(tmp_path / "run")["status"] == "stopped"
    assert not (tmp_path / "run" / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
def test_with_the_predictor_the_demo_does_not_collapse(byol_train: Command) -> None:
    ended = byol_train(*SHORT_DEMO, "trainer.on_collapse=stop", "hydra.run.dir=run")
    assert ended.code == 0, ended.err
    assert "collapsing" not in ended.err


def test_an_interrupted_sweep_ends_as_a_whole(
    byol_train: Command, tiny: list[str], tmp_path: Path, interrupt_at: Callable[[int], None]
) -> None:
    interrupt_at(2)
    words = [*tiny, "trainer.steps=4", "evaluation=[knn]"]
    ended = byol_train("-m", *words, "seed=0,1", "hydra.sweep.dir=sweep")
    assert ended.code == 75
    assert f"go on by: byol-train resume={tmp_path}/sweep/{job_name([*words, 'seed=0'])}" in ended.err
    rows = (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == ["interrupted", "not run"]


def test_a_sweep_in_which_nothing_runs_fails(byol_train: Command, tiny: list[str]) -> None:
    assert byol_train("-m", *tiny, "trainer.batch_size=5000,6000", "hydra.sweep.dir=sweep").code == 2


def test_a_folder_that_cannot_be_made_is_named(byol_train: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = byol_train("hydra.run.dir=file/run")
    assert ended.code == 2
    assert ended.err == "byol-train: hydra.run.dir=file/run cannot be made: Not a directory\n"


def test_an_unreadable_image_ends_the_run_with_its_name(byol_train: Command, tmp_path: Path) -> None:
    write_images(tmp_path / "photos")
    (tmp_path / "photos" / "2019" / "0.jpg").write_bytes(b"no image at all")
    ended = byol_train(*FOLDER, "dataset.channels=3", "dataset.normalization=imagenet", "hydra.run.dir=run")
    assert ended.code == 2
    assert "photos/2019/0.jpg" in ended.err.splitlines()[-1]
