"""`byol-embed` from the command line."""

import csv
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import byol_cli

pytestmark = pytest.mark.slow

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test to need it leaves a trained run for the others."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def run_dir(kept_run: Path, byol_train: Command, tiny: list[str], tmp_path: Path) -> Path:
    """The folder `run`, trained for two steps."""
    if not kept_run.exists():
        ended = byol_train(*tiny, "trainer.steps=2", "evaluation=[knn]", f"hydra.run.dir={kept_run}")
        assert ended.code == 0, ended.err
    shutil.copytree(kept_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """20 photos, half of cats and half of dogs."""
    rng = np.random.default_rng(0)
    for number in range(20):
        folder = tmp_path / "photos" / ("cats", "dogs")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(folder / f"{number:02d}.png")
    return tmp_path / "photos"


def arrays(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def test_every_image_of_the_run_is_there_once_as_the_api_sees_it(run_dir: Path, byol_embed: Command) -> None:
    ended = byol_embed("checkpoint=run", "device=cpu", "output=features.npz")
    assert ended.code == 0, ended.err
    assert "features.npz: 1,797 images, 8 features each" in ended.out
    made = arrays("features.npz")
    assert made["path"].tolist() == [f"digits/{i}" for i in range(1797)]
    assert (made["features"].dtype, made["features"].shape) == (np.float32, (1797, 8))
    splits = {name: int(count) for name, count in zip(*np.unique(made["split"], return_counts=True), strict=True)}
    assert splits == {"train": 1294, "selection": 144, "test": 359}

    from sklearn.datasets import load_digits

    from byol_cli.cli.resume import config_in
    from byol_cli.data.digits import read_digits
    from byol_cli.schema.command import TrainConfig

    config: TrainConfig = config_in(run_dir)
    assert made["label"].tolist() == [str(digit) for digit in load_digits().target]
    images = read_digits(config.dataset).pretrain.images.images[:10]  # type: ignore[arg-type, attr-defined]
    backbone = byol_cli.load_backbone(run_dir)
    with torch.no_grad():
        features = backbone(backbone.transform(images))
    np.testing.assert_allclose(made["features"][:10], features.numpy(), atol=1e-5)
    assert sorted(path.name for path in Path().iterdir()) == ["features.npz", "run"]


def test_other_images_with_labels_neighbors_and_paths_that_open(
    run_dir: Path, photos: Path, byol_embed: Command
) -> None:
    words = ("checkpoint=run", "device=cpu", "dataset=image_folder", "dataset.root=photos", "num_workers=0")
    ended = byol_embed(*words, "output=out/features.csv", "neighbors=2")
    assert ended.code == 0, ended.err
    with open("out/features.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == sorted(str(path) for path in Path("photos").rglob("*.png"))
    assert all(Path(row["path"]).is_file() for row in rows)
    assert [row["label"] for row in rows] == ["cats"] * 10 + ["dogs"] * 10
    features = np.array([[float(row[f"f{i}"]) for i in range(8)] for row in rows])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    with open("out/features.neighbors.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["rank"] for row in found] == ["1", "2"] * 20
    paths = [row["path"] for row in rows]
    for row in found:
        at, other, rank = paths.index(row["path"]), paths.index(row["neighbor"]), int(row["rank"])
        assert abs(float(row["cosine"]) - cosines[at, other]) < 1e-5
        assert abs(np.sort(cosines[at])[-rank] - cosines[at, other]) < 1e-5  # two may be equally near
    assert sorted(path.name for path in Path("out").iterdir()) == ["features.csv", "features.neighbors.csv"]


def test_images_that_cannot_be_read_are_left_out_and_listed(run_dir: Path, photos: Path, byol_embed: Command) -> None:
    (photos / "cats" / "04.png").write_bytes(b"no picture")
    words = ("checkpoint=run", "device=cpu", "dataset=image_folder", "dataset.root=photos", "num_workers=0")
    refused = byol_embed(*words, "output=features.npz")
    assert refused.code == 2
    assert "04.png" in refused.err
    skip = ("dataset.on_bad_image=skip", "dataset.max_bad_images=0.1")
    ended = byol_embed(*words, *skip, "output=features.npz", "neighbors=18")
    assert ended.code == 0, ended.err
    assert "left out:   1 images that cannot be read, listed in features.bad_images.txt" in ended.out
    made = arrays("features.npz")
    assert (len(made["path"]), "photos/cats/04.png" in made["path"].tolist()) == (19, False)
    assert np.isfinite(made["features"]).all()
    assert "photos/cats/04.png" in Path("features.bad_images.txt").read_text()


def interrupt_after(batches: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A Ctrl-C while the batch after so many is computed; gives the sizes of batches, as they come."""
    from byol_cli.cli import embedding

    extract, sizes = embedding.extract_features, list[int]()

    def interrupted(backbone: Any, images: list[torch.Tensor], **options: Any) -> torch.Tensor:
        if len(sizes) == batches:
            os.kill(os.getpid(), signal.SIGINT)
        sizes.append(len(images[0]))
        return extract(backbone, images, **options)

    monkeypatch.setattr(embedding, "extract_features", interrupted)
    return sizes


def test_an_interrupted_embedding_goes_on_where_it_stopped_and_ends_the_same(
    run_dir: Path, byol_embed: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("checkpoint=run", "device=cpu", "batch_size=100", "output=a b.npz")
    with monkeypatch.context() as patches:
        interrupt_after(3, patches)
        ended = byol_embed(*words)
    assert ended.code == 75
    assert ended.err == (
        "byol-embed: interrupted; go on by: byol-embed checkpoint=run device=cpu batch_size=100 'output=a b.npz'\n"
    )
    assert not Path("a b.npz").exists()
    assert Path("a b.npz.parts").is_dir()
    with monkeypatch.context() as patches:
        sizes = interrupt_after(-1, patches)
        ended = byol_embed(*words)
    assert ended.code == 0, ended.err
    assert "going on:   300 of 1,797 images are done, in a b.npz.parts" in ended.out
    assert sum(sizes) == 1497
    assert byol_embed("checkpoint=run", "device=cpu", "batch_size=100", "output=whole.npz").code == 0
    left, right = arrays("a b.npz"), arrays("whole.npz")
    assert all((left[name] == right[name]).all() for name in left)
    assert sorted(path.name for path in Path().iterdir()) == ["a b.npz", "run", "whole.npz"]


def change_weights(run_dir: Path) -> None:
    for path in (run_dir / "checkpoints").glob("*.pt"):
        checkpoint = torch.load(path, weights_only=True)
        name = next(name for name in checkpoint["online"] if name.startswith("backbone.") and name.endswith("weight"))
        checkpoint["online"][name] *= 1.5
        torch.save(checkpoint, path)
        path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)


@pytest.mark.parametrize("change", ["weights", "images", "precision"])
def test_parts_of_other_weights_images_or_settings_are_not_gone_on_with(
    run_dir: Path, byol_embed: Command, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    words = ["checkpoint=run", "device=cpu", "output=x.npz"]
    with monkeypatch.context() as patches:
        interrupt_after(2, patches)
        assert byol_embed(*words).code == 75
    if change == "weights":
        change_weights(run_dir)
    else:
        more = {"images": ["dataset=digits", "dataset.image_size=20"], "precision": ["precision=bf16"]}
        words += more[change]
    with monkeypatch.context() as patches:
        sizes = interrupt_after(-1, patches)
        ended = byol_embed(*words)
    assert ended.code == 0, ended.err
    assert "1 parts are damaged, or of other images, weights or settings: made anew" in ended.out
    assert sum(sizes) == 1797


@pytest.mark.parametrize(("limit", "value", "batches"), [("PART_BYTES", 4 * 8 * 250, 3), ("PART_SECONDS", 0.0, 1)])
def test_in_memory_are_a_few_parts_only(
    run_dir: Path, byol_embed: Command, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, batches: int
) -> None:
    from byol_cli.export import extraction
    from byol_cli.export.parts import Parts

    added: list[int] = []
    add = Parts.add

    def counted(self: Parts, features: torch.Tensor) -> None:
        added.append(len(features))
        add(self, features)

    monkeypatch.setattr(extraction, limit, value)
    monkeypatch.setattr(Parts, "add", counted)
    ended = byol_embed("checkpoint=run", "device=cpu", "batch_size=100", "output=x.parquet", "neighbors=3")
    assert ended.code == 0, ended.err
    assert added == [100 * batches] * (17 // batches) + [1797 - 100 * batches * (17 // batches)]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.ParquetFile("x.parquet").num_row_groups == len(added)
    assert len(Path("x.neighbors.csv").read_text().splitlines()) == 1 + 3 * 1797


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["output=x.txt"], r"output=x\.txt must end in one of \.npz, \.parquet, \.csv"),
        ([], r"output has no value; give output=VALUE"),
        (["output=new/x.npz", "neighbors=1797"], r"neighbors=1797 must be below the number of images, 1,797"),
        (["output=x.npz", "neighbors=0"], r"neighbors=0 must be at least 1"),
        (["output=x.npz", "dataset=image_folder", "dataset.root=gone"], r"dataset\.root=gone: there is no such"),
        (["output=x.npz", "dataset=digit"], r"dataset=digit must be one of .*did you mean digits"),
        (["output=x.npz", "dataset.root=photos"], r"dataset\.root: name its data set too, by dataset=\.\.\."),
        (["output=x.npz,y.npz"], r"output=x\.npz,y\.npz: byol-embed does one job at a time"),
        (
            ["output=run/config.yaml/x.npz"],
            r"output=run/config\.yaml/x\.npz: the folder \S+/x\.npz\.parts cannot be made",
        ),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    run_dir: Path, byol_embed: Command, words: list[str], message: str
) -> None:
    ended = byol_embed("checkpoint=run", "device=cpu", *words)
    assert ended.code == 2
    assert re.fullmatch(rf"byol-embed: {message}.*\n", ended.err), ended.err
    assert [path.name for path in Path().iterdir()] == ["run"]


def test_nothing_is_replaced_unasked(run_dir: Path, byol_embed: Command) -> None:
    Path("x.neighbors.csv").write_text("mine")
    words = ("checkpoint=run", "device=cpu", "output=x.npz", "neighbors=1")
    ended = byol_embed(*words)
    assert ended.code == 2
    assert ended.err == "byol-embed: output=x.neighbors.csv is there already; overwrite=true replaces it\n"
    assert byol_embed(*words, "overwrite=true").code == 0
    assert Path("x.neighbors.csv").read_text().startswith("path,rank,neighbor,cosine")


@pytest.mark.parametrize("name", ["notes.txt", "weights.safetensors", "mine.safetensors.writing"])
def test_a_folder_of_somebody_else_is_left_as_it_is(run_dir: Path, byol_embed: Command, name: str) -> None:
    Path("x.npz.parts").mkdir()
    Path("x.npz.parts", name).write_text("precious")
    ended = byol_embed("checkpoint=run", "device=cpu", "output=x.npz", "overwrite=true")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith(
        f"byol-embed: output=x.npz is made in the folder x.npz.parts, which holds {name}, not of byol-embed"
    )
    assert Path("x.npz.parts", name).read_text() == "precious"
    assert sorted(path.name for path in Path("x.npz.parts").iterdir()) == [name]


def test_a_list_of_images_that_cannot_be_read_is_not_replaced_unasked_and_none_of_before_stays(
    run_dir: Path, byol_embed: Command
) -> None:
    Path("x.bad_images.txt").write_text("mine")
    words = ("checkpoint=run", "device=cpu", "output=x.npz")
    ended = byol_embed(*words)
    assert ended.code == 2
    assert ended.err == "byol-embed: output=x.bad_images.txt is there already; overwrite=true replaces it\n"
    assert byol_embed(*words, "overwrite=true").code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["run", "x.npz"]


def test_a_missing_package_is_named_before_anything_is_computed(
    run_dir: Path, byol_embed: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol_cli.export import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    ended = byol_embed("checkpoint=run", "device=cpu", "output=x.parquet")
    assert ended.code == 2
    assert ended.err == "byol-embed: output=x.parquet needs pyarrow: pip install 'byol-cli[parquet]'\n"
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "done"
