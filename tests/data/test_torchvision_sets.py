"""torchvision's own readers on tiny files of the real layout; only their check of MD5 sums is left out."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets import cifar, stl10

from byol_cli.data.build import build_splits
from byol_cli.data.images import ArrayImages
from byol_cli.data.torchvision_sets import STL10_CLASSES, read_cifar10, read_cifar100, read_stl10
from byol_cli.schema.errors import InputError

Config = Callable[..., Any]


@pytest.fixture
def no_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cifar, stl10):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())


def dump(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value))


def pixels(num: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, 3, size, size), dtype=np.uint8)


def array_of(images: object) -> np.ndarray:
    assert isinstance(images, ArrayImages)
    return images.images.numpy()


@pytest.mark.usefixtures("no_md5")
def test_cifar10_is_read_from_its_pickles(config_of: Config, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    parts = [pixels(8, 32, seed) for seed in range(6)]
    labels = [list(np.random.default_rng(seed).permutation(8) % 4) for seed in range(6)]
    for name, part, values in zip(
        [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"], parts, labels, strict=True
    ):
        dump(folder / name, {"data": part.reshape(8, -1), "labels": [int(value) for value in values]})
    dump(folder / "batches.meta", {"label_names": ["plane", "car", "bird", "cat"]})
    sources = read_cifar10(config_of("cifar10", root=tmp_path))
    assert sources.test is not None
    assert np.array_equal(array_of(sources.pretrain.images), np.concatenate(parts[:5]))
    assert np.array_equal(array_of(sources.test.images), parts[5])
    assert sources.pretrain.labels is not None
    assert sources.test.labels is not None
    assert np.array_equal(sources.pretrain.labels, np.concatenate(labels[:5]))
    assert np.array_equal(sources.test.labels, labels[5])
    assert sources.pretrain.images.class_names == ("plane", "car", "bird", "cat")
    assert (sources.pretrain.name(39), sources.test.name(7)) == ("cifar10/train/39", "cifar10/test/7")
    splits = build_splits(config_of("cifar10", root=tmp_path), timeout_seconds=60, log=lambda _: None)
    assert [len(part) for part in (splits.pretrain, splits.selection, splits.test or ())] == [30, 10, 8]


@pytest.mark.usefixtures("no_md5")
def test_cifar100_takes_the_fine_labels(config_of: Config, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    for name in ("train", "test"):
        value = {"data": pixels(4, 32, 0).reshape(4, -1), "fine_labels": [3, 1, 0, 2], "coarse_labels": [0, 0, 1, 1]}
        dump(folder / name, value)
    dump(folder / "meta", {"fine_label_names": list("abcd"), "coarse_label_names": list("xy")})
    sources = read_cifar100(config_of("cifar100", root=tmp_path))
    assert sources.pretrain.labels is not None
    assert sources.pretrain.labels.tolist() == [3, 1, 0, 2]
    assert sources.pretrain.images.class_names == tuple("abcd")


@pytest.mark.usefixtures("no_md5")
def test_stl10_trains_on_the_unlabelled_images_and_selects_on_labelled_ones(config_of: Config, tmp_path: Path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    sizes = {"train": 12, "test": 5, "unlabeled": 7}
    images = {name: pixels(num, 96, num) for name, num in sizes.items()}
    for name, values in images.items():
        values.transpose(0, 1, 3, 2).tofile(folder / f"{name}_X.bin")  # its files are column by column
    (np.arange(12) % 3 + 1).astype(np.uint8).tofile(folder / "train_y.bin")
    (np.arange(5) % 3 + 1).astype(np.uint8).tofile(folder / "test_y.bin")
    (folder / "fold_indices.txt").touch()
    (folder / "class_names.txt").write_text("\n".join(STL10_CLASSES))
    sources = read_stl10(config_of("stl10", root=tmp_path))
    assert sources.test is not None
    assert np.array_equal(array_of(sources.pretrain.images), images["unlabeled"])
    assert np.array_equal(array_of(sources.labelled.images), images["train"])
    assert sources.labelled.labels is not None
    assert sources.labelled.labels.tolist() == [0, 1, 2] * 4
    assert not sources.pretrain.has_labels
    splits = build_splits(config_of("stl10", root=tmp_path), timeout_seconds=60, log=lambda _: None)
    assert [len(part) for part in (splits.pretrain, splits.train, splits.selection)] == [7, 9, 3]
    assert splits.train.images is splits.selection.images is not splits.pretrain.images
    assert splits.class_names == STL10_CLASSES


@pytest.mark.parametrize(
    ("name", "read", "title"),
    [("cifar10", read_cifar10, "CIFAR-10"), ("cifar100", read_cifar100, "CIFAR-100"), ("stl10", read_stl10, "STL-10")],
)
def test_an_absent_set_says_how_to_fetch_it(
    config_of: Config, tmp_path: Path, name: str, read: Callable[[Any], object], title: str
) -> None:
    with pytest.raises(InputError) as refused:
        read(config_of(name, root=tmp_path))
    assert str(refused.value) == f"dataset.root={tmp_path}: {title} is not there; dataset.download=true fetches it"


def test_a_damaged_set_is_told_from_an_absent_one(config_of: Config, tmp_path: Path) -> None:
    dump(tmp_path / "cifar-10-batches-py/data_batch_1", {})
    with pytest.raises(InputError, match=f"dataset.root={tmp_path}: CIFAR-10 is damaged; dataset.download=true"):
        read_cifar10(config_of("cifar10", root=tmp_path))


@pytest.mark.parametrize(
    "error", [URLError("no\nroute"), RuntimeError("File not found\nor corrupted."), OSError("full")]
)
def test_a_failed_download_is_one_line(
    config_of: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cifar, "download_and_extract_archive", fail)
    with pytest.raises(InputError, match=f"^dataset.root={tmp_path}: fetching CIFAR-10 failed: ") as refused:
        read_cifar10(config_of("cifar10", root=tmp_path, download=True))
    assert "\n" not in str(refused.value)
