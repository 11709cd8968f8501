"""`byol-eval` keeps features below the run folder, and takes them from there where it would extract the same."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

Command = Callable[..., Any]
MEASURE = ("checkpoint=run", "device=cpu", "evaluation=[knn]")


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test to need it leaves a trained run for the others."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def run_dir(kept_run: Path, byol_train: Command, tiny: list[str], tmp_path: Path) -> Path:
    """The folder `run`, trained for two steps, not measured yet."""
    if not kept_run.exists():
        words = [*tiny, "trainer.steps=2", "evaluation=[knn]", f"hydra.run.dir={kept_run}"]
        assert byol_train(*words).code == 0
    shutil.copytree(kept_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def measured(byol_eval: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str, int]]:
    """Runs byol-eval; gives what it printed before the table, the table, and how many parts it extracted."""

    def measure(*words: str) -> tuple[str, str, int]:
        from byol_cli.evaluation import evaluator

        extracted: list[Any] = []
        extract = evaluator.extract_features

        def counted(*arguments: Any, **options: Any) -> torch.Tensor:
            extracted.append(arguments)
            return extract(*arguments, **options)

        with monkeypatch.context() as patches:
            patches.setattr(evaluator, "extract_features", counted)
            ended = byol_eval(*MEASURE, *words)
        assert ended.code == 0, ended.err
        before, caption, table = ended.out.partition("accuracy on")
        return before, caption + table, len(extracted)

    return measure


def change_checkpoint(run_dir: Path, change: Callable[[dict[str, Any]], None]) -> None:
    (path,) = (run_dir / "checkpoints").glob("step_*.pt")
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    path.with_name(f"{path.name}.sha256").unlink()


def other_weights(checkpoint: dict[str, Any]) -> None:
    name = next(name for name in checkpoint["online"] if name.startswith("backbone.") and name.endswith("weight"))
    checkpoint["online"][name] *= 1.01


def other_image_size(checkpoint: dict[str, Any]) -> None:
    checkpoint["config"]["augmentation"]["image_size"] = 12


def other_views(checkpoint: dict[str, Any]) -> None:
    checkpoint["config"]["augmentation"]["view2"]["rotation"]["probability"] = 0.5


def other_normalization(checkpoint: dict[str, Any]) -> None:
    checkpoint["normalization"]["mean"] = [value + 0.01 for value in checkpoint["normalization"]["mean"]]


def other_step(checkpoint: dict[str, Any]) -> None:
    checkpoint["step"] += 1  # nothing that features depend on


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_the_second_time_no_backbone_runs_and_the_table_is_the_same(
    run_dir: Path, measured: Callable[..., tuple[str, str, int]], precision: str
) -> None:
    words = [f"precision={precision}"]
    before, table, extracted = measured(*words)
    assert (extracted, "parts from" in before) == (8, False)
    files = {path: path.stat().st_mtime_ns for path in (run_dir / "features").iterdir()}
    assert len(files) == 8
    before, again, extracted = measured(*words)
    assert (again, extracted) == (table, 0)
    assert before.splitlines()[-1] == "features:      8 of 8 parts from run/features"
    assert {path: path.stat().st_mtime_ns for path in (run_dir / "features").iterdir()} == files


@pytest.mark.parametrize(
    ("change", "words", "extracted"),
    [
        (other_step, [], 0),
        (other_weights, [], 4),  # those of the untrained backbone are the same
        pytest.param(other_image_size, [], 8, marks=pytest.mark.slow),
        pytest.param(other_normalization, [], 8, marks=pytest.mark.slow),
        (other_views, [], 2),  # those of the centres are the same
        (other_step, ["precision=bf16"], 8),
        pytest.param(other_step, ["dataset=digits", "dataset.split_seed=1"], 8, marks=pytest.mark.slow),
        (other_step, ["dataset=digits", "dataset.selection_fraction=0.2"], 6),  # the test images are the same
    ],
)
def test_another_checkpoint_data_set_image_size_or_precision_does_not_reuse_them(
    run_dir: Path,
    measured: Callable[..., tuple[str, str, int]],
    change: Callable[[dict[str, Any]], None],
    words: list[str],
    extracted: int,
) -> None:
    measured("precision=fp32")
    change_checkpoint(run_dir, change)
    _, table, number = measured("precision=fp32", *words)
    assert number == extracted
    assert measured("precision=fp32", *words, "feature_cache=false")[1] == table


def test_changed_images_in_a_folder_are_looked_at_again(
    run_dir: Path, measured: Callable[..., tuple[str, str, int]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "shades" / ("light" if number % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        low = 170 * (number % 2)
        Image.fromarray(rng.integers(low, low + 85, (20, 20), dtype=np.uint8)).save(folder / f"{number}.bmp")
    words = ["dataset=image_folder", "dataset.root=shades", "dataset.test_fraction=0.3"]
    assert measured(*words)[2] == 8
    assert measured(*words)[2] == 0
    Image.new("L", (20, 20)).save(tmp_path / "shades" / "dark" / "0.bmp")  # as large as before
    assert measured(*words)[2] == 8


def test_a_damaged_file_is_told_and_written_anew(run_dir: Path, measured: Callable[..., tuple[str, str, int]]) -> None:
    _, table, _ = measured()
    first, second, *_ = sorted((run_dir / "features").iterdir())
    content = first.read_bytes(), second.read_bytes()
    first.write_bytes(content[0][: len(content[0]) // 2])
    second.write_bytes(content[1][:-1] + bytes([content[1][-1] ^ 1]))
    before, again, extracted = measured()
    assert (again, extracted) == (table, 2)
    for file in (first, second):
        (line,) = [line for line in before.splitlines() if file.name in line]
        assert line.endswith("these features are extracted anew")
    assert (first.read_bytes(), second.read_bytes()) == content
    assert measured()[1:] == (table, 0)


def test_without_feature_cache_features_are_neither_kept_nor_taken(
    run_dir: Path, measured: Callable[..., tuple[str, str, int]]
) -> None:
    assert measured("feature_cache=false")[2] == 9
    assert not (run_dir / "features").exists()
    measured()
    before, _, extracted = measured("feature_cache=false")
    assert (extracted, "features" in before) == (9, False)


def test_where_features_cannot_be_kept_one_line_says_so(
    run_dir: Path, measured: Callable[..., tuple[str, str, int]]
) -> None:
    (run_dir / "features").write_text("a file in the folder's place")
    before, table, extracted = measured()
    assert (extracted, before.count("features are not kept: run/features cannot be written to")) == (9, 1)
    assert measured("feature_cache=false")[1] == table


def test_a_checkpoint_outside_a_run_folder_keeps_them_with_its_results(
    run_dir: Path, measured: Callable[..., tuple[str, str, int]], tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(run_dir / "checkpoints" / "last.pt", tmp_path / "models" / "mine.pt")
    measured("checkpoint=models/mine.pt")
    assert len(list((tmp_path / "models" / "mine.report" / "features").iterdir())) == 8


def test_features_of_code_that_may_change_are_not_kept(
    byol_train: Command, measured: Callable[..., tuple[str, str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())\n"
    (tmp_path / "network_that_may_change.py").write_text(source)
    words = ["backbone=custom", "backbone.factory=network_that_may_change:build", "trainer.steps=2", "evaluation=[knn]"]
    assert byol_train(*words, "trainer.device=cpu", "hydra.run.dir=run").code == 0
    for _ in range(2):
        assert measured("backbone_factory=network_that_may_change:build")[2] == 9
    assert not (tmp_path / "run" / "features").exists()
