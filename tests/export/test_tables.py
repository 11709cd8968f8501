"""Each kind of file holds the same rows, to the bit."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Subset
from byol_cli.export import neighbors as neighbors_module
from byol_cli.export.every_image import EveryImage
from byol_cli.export.neighbors import nearest_by_blocks, nearest_by_faiss, write_neighbors
from byol_cli.export.parts import Parts
from byol_cli.export.tables import Table, write_csv, write_npz, write_parquet

STRANGE = 'é, "x"\udce9'  # a comma, a quote, and a byte that is no UTF-8


def images_of(count: int, title: str, labels: list[int] | None) -> ArrayImages:
    return ArrayImages(
        images=torch.zeros(count, 1, 1, 1, dtype=torch.uint8),
        labels=None if labels is None else np.array(labels),
        class_names=() if labels is None else ("cat", "dog"),
        title=title,
    )


def part(images: ArrayImages, *indices: int) -> Subset:
    return Subset(images, np.array(indices, dtype=np.int64))


@pytest.fixture
def everything() -> EveryImage:
    """Six training images, of which 4 is held out for selection and 5 is in no split, and two test images."""
    train, test = images_of(6, STRANGE, [0, 1, -1, 0, 1, -1]), images_of(2, "test", [1, 0])
    splits: Any = SimpleNamespace(
        pretrain=part(train, 0, 1, 2, 3), train=part(train, 0, 1, 3), selection=part(train, 4), test=part(test, 0, 1)
    )
    return EveryImage(splits)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """Their features; number 3 could not be read."""
    (tmp_path / "parts").mkdir()
    parts = Parts(tmp_path / "parts", key="key", dim=5, say=print)
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    features[3] = torch.nan
    for block in features.split(3):
        parts.add(block)
    return parts


PLACES = [0, 1, 2, 4, 5, 6, 7]
PATHS = [f"{STRANGE}/{i}" for i in (0, 1, 2, 4, 5)] + ["test/0", "test/1"]
SPLITS = ["train", "train", "train", "selection", "unused", "test", "test"]
LABELS = ["cat", "dog", "", "dog", "", "dog", "cat"]


def test_every_image_is_there_once_in_the_order_of_its_set(everything: EveryImage) -> None:
    assert len(everything) == 8
    columns = everything.columns(np.array(PLACES))
    assert (columns.paths, columns.splits, columns.labels) == (PATHS, SPLITS, LABELS)
    assert [subset.indices.tolist() for subset in everything.rest(4)] == [[4, 5], [0, 1]]
    assert [subset.indices.tolist() for subset in everything.rest(7)] == [[1]]
    assert not list(everything.rest(8))


def features_of(parts: Parts) -> np.ndarray:
    return np.concatenate([features.numpy() for _, features in parts.blocks()])


def test_csv_gives_the_features_back_exactly(everything: EveryImage, parts: Parts, tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", Table(everything, parts))
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "split", "label", "f0", "f1", "f2", "f3", "f4"]
    assert [row[:3] for row in rows] == [list(row) for row in zip(PATHS, SPLITS, LABELS, strict=True)]
    assert (np.array([row[3:] for row in rows]).astype(np.float32) == features_of(parts)).all()


def test_numpy_reads_the_npz_without_pickle(everything: EveryImage, parts: Parts, tmp_path: Path) -> None:
    write_npz(tmp_path / "x.npz", Table(everything, parts))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert sorted(file) == ["features", "label", "path", "split"]
        assert file["features"].dtype == np.float32
        assert (file["features"] == features_of(parts)).all()
        assert (file["path"].tolist(), file["split"].tolist(), file["label"].tolist()) == (PATHS, SPLITS, LABELS)


def test_pyarrow_reads_the_parquet(everything: EveryImage, parts: Parts, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(tmp_path / "x.parquet", Table(everything, parts))
    table = parquet.read_table(tmp_path / "x.parquet")
    assert parquet.ParquetFile(tmp_path / "x.parquet").num_row_groups == 3
    assert table.column_names == ["path", "split", "label", "features"]
    assert table["path"].to_pylist() == [path.replace("\udce9", "\\xe9") for path in PATHS]
    assert (table["split"].to_pylist(), table["label"].to_pylist()) == (SPLITS, LABELS)
    assert (np.array(table["features"].to_pylist(), dtype=np.float32) == features_of(parts)).all()


@pytest.mark.parametrize("by", ["blocks", "small blocks", "faiss"])
@pytest.mark.parametrize("neighbors", [1, 3, 100])
def test_neighbors_are_those_of_all_cosines_sorted(
    parts: Parts, by: str, neighbors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "small blocks":
        monkeypatch.setattr(neighbors_module, "ROWS", 2)
    if by == "faiss":
        pytest.importorskip("faiss")
        found = list(nearest_by_faiss(parts, neighbors=neighbors))
    else:
        found = list(nearest_by_blocks(parts, neighbors=neighbors, device=torch.device("cpu")))
    features = features_of(parts).astype(np.float64)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1)[:, : min(neighbors, 6)]
    assert np.concatenate([part.places for part in found]).tolist() == PLACES
    assert (np.concatenate([part.neighbors for part in found]) == np.array(PLACES)[order]).all()
    told = np.concatenate([part.cosines for part in found])
    np.testing.assert_allclose(told, np.take_along_axis(cosines, order, axis=1), atol=1e-6)


@pytest.mark.parametrize("by", ["blocks", "faiss"])
def test_an_image_is_never_its_own_neighbor_even_among_copies(tmp_path: Path, by: str) -> None:
    parts = Parts(tmp_path, key="key", dim=4, say=print)
    parts.add(torch.ones(6, 4))
    if by == "faiss":
        pytest.importorskip("faiss")
        (found,) = nearest_by_faiss(parts, neighbors=2)
    else:
        (found,) = nearest_by_blocks(parts, neighbors=2, device=torch.device("cpu"))
    assert found.neighbors.shape == (6, 2)
    assert not (found.neighbors == found.places[:, None]).any()
    np.testing.assert_allclose(found.cosines, 1, atol=1e-6)


def test_the_neighbors_file_names_both_images(everything: EveryImage, parts: Parts, tmp_path: Path) -> None:
    found = list(nearest_by_blocks(parts, neighbors=2, device=torch.device("cpu")))
    write_neighbors(tmp_path / "x.csv", iter(found), everything)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "rank", "neighbor", "cosine"]
    assert [row[0] for row in rows] == [path for path in PATHS for _ in range(2)]
    assert [row[1] for row in rows] == ["1", "2"] * 7
    names = dict(zip(PLACES, PATHS, strict=True))
    expected = [names[place] for part in found for row in part.neighbors.tolist() for place in row]
    assert [row[2] for row in rows] == expected
