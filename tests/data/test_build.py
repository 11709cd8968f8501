"""The splits of a run: byol_cli.data.build, with the digits, synthetic and folder sets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from byol_cli.data.build import DATASETS, build_splits
from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Splits
from byol_cli.schema import dataset as schema
from byol_cli.schema.errors import InputError

Config = Callable[..., schema.DatasetConfig]


def quiet(_: str) -> None:
    pass


def names(splits: Splits, part: str) -> set[str]:
    subset = getattr(splits, part)
    return {f"{id(subset.images)} {subset.name(place)}" for place in range(len(subset))}


def test_every_data_set_of_the_schema_is_there() -> None:
    assert list(DATASETS) == list(schema.DATASETS)


def test_the_digits_are_split_three_ways_without_overlap(config_of: Config) -> None:
    said: list[str] = []
    splits = build_splits(config_of("digits", selection_fraction=0.1), timeout_seconds=60, log=said.append)
    parts = [names(splits, part) for part in ("train", "selection", "test")]
    assert [len(part) for part in parts] == [1294, 144, 359]
    assert len(set.union(*parts)) == 1797
    assert names(splits, "pretrain") == parts[0]
    assert splits.class_names == tuple("0123456789")
    assert said == [
        "digits: the digits 0 to 9 as labels; 1,294 images to train on, 144 held out for selection, 359 for the test "
        "(dataset.split_seed=0)"
    ]


def test_every_split_of_the_digits_has_its_share_of_each(config_of: Config) -> None:
    splits = build_splits(config_of("digits"), timeout_seconds=60, log=quiet)
    everything = np.bincount(load_digits().target) / 1797
    for part in (splits.train, splits.selection, splits.test):
        assert part is not None
        assert part.labels is not None
        assert np.abs(np.bincount(part.labels) - everything * len(part)).max() <= 2


def test_digits_are_scikit_learns_enlarged(config_of: Config) -> None:
    splits = build_splits(config_of("digits", image_size=8), timeout_seconds=60, log=quiet)
    images = splits.pretrain.images
    assert isinstance(images, ArrayImages)
    assert images.images.shape == (1797, 1, 8, 8)
    assert np.abs(images.images[:, 0].numpy() / 255 - load_digits().images / 16).max() < 1 / 255
    large = build_splits(config_of("digits", image_size=24), timeout_seconds=60, log=quiet).pretrain.images
    assert isinstance(large, ArrayImages)
    means = large.images.float().mean(dim=(1, 2, 3)) - images.images.float().mean(dim=(1, 2, 3))
    assert large.images.shape == (1797, 1, 24, 24)
    assert means.abs().max() < 8


def test_the_test_split_does_not_depend_on_selection_or_labels(config_of: Config) -> None:
    first = build_splits(config_of("digits"), timeout_seconds=60, log=quiet)
    second = build_splits(config_of("digits", selection_fraction=0.5, labels="none"), timeout_seconds=60, log=quiet)
    assert first.test is not None
    assert second.test is not None
    assert np.array_equal(first.test.indices, second.test.indices)


def test_another_seed_gives_another_split(config_of: Config) -> None:
    first, second = (
        build_splits(config_of("digits", split_seed=seed), timeout_seconds=60, log=quiet) for seed in (0, 1)
    )
    assert not np.array_equal(first.selection.indices, second.selection.indices)


def test_labels_none_drops_labels_from_any_set(config_of: Config) -> None:
    said: list[str] = []
    splits = build_splits(config_of("digits", labels="none"), timeout_seconds=60, log=said.append)
    for part in (splits.pretrain, splits.train, splits.selection, splits.test):
        assert part is not None
        assert part.labels is None
    assert splits.class_names == ()
    assert "no labels (dataset.labels=none)" in said[0]


def test_channels_are_converted_once_for_all_splits(config_of: Config) -> None:
    splits = build_splits(config_of("digits", channels=3), timeout_seconds=60, log=quiet)
    assert splits.channels == 3
    assert splits.test is not None
    assert splits.pretrain.images is splits.selection.images is splits.test.images
    assert build_splits(config_of("digits", channels=1), channels=3, timeout_seconds=60, log=quiet).channels == 3
    with pytest.raises(InputError, match="1 channels cannot become 4"):
        build_splits(config_of("digits", channels=4), timeout_seconds=60, log=quiet)


def test_no_selection_fraction_holds_nothing_out(config_of: Config) -> None:
    splits = build_splits(config_of("synthetic", selection_fraction=0.0), timeout_seconds=60, log=quiet)
    assert (len(splits.pretrain), len(splits.selection), splits.test) == (20, 0, None)


def test_synthetic_images_are_reproducible_and_unlabelled(config_of: Config) -> None:
    first, again, other = (
        build_splits(config_of("synthetic", split_seed=seed), timeout_seconds=60, log=quiet) for seed in (3, 3, 4)
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint
    images = first.pretrain.images
    assert isinstance(images, ArrayImages)
    assert images.images.shape == (20, 3, 8, 8)
    assert images.images.dtype == torch.uint8
    assert not first.train.has_labels
    assert build_splits(config_of("synthetic", channels=5), timeout_seconds=60, log=quiet).channels == 5


def test_images_without_a_label_are_trained_on_and_not_measured(config_of: Config, photos: Path) -> None:
    rows = [f"{folder}/{path.name},{folder}" for folder in ("ant", "bee") for path in (photos / folder).iterdir()]
    (photos / "labels.csv").write_text("\n".join(["path,label", *rows]))
    said: list[str] = []
    config = config_of("image_folder", root=photos, labels_csv=photos / "labels.csv", test_fraction=0.25)
    splits = build_splits(config, timeout_seconds=60, log=said.append)
    assert splits.test is not None
    assert [len(part) for part in (splits.pretrain, splits.train, splits.selection, splits.test)] == [17, 9, 3, 4]
    for part in (splits.train, splits.selection, splits.test):
        assert part.labels is not None
        assert (part.labels >= 0).all()
    assert not names(splits, "pretrain") & (names(splits, "selection") | names(splits, "test"))
    assert names(splits, "train") < names(splits, "pretrain")
    assert "8 images without a label" in said[0]


def test_the_fingerprint_follows_images_splits_and_labels(config_of: Config, photos: Path) -> None:
    prints = [
        build_splits(config_of("image_folder", root=photos, **changes), timeout_seconds=60, log=quiet).fingerprint
        for changes in ({}, {"split_seed": 1}, {"labels": "none"}, {"channels": 1}, {"selection_fraction": 0.5}, {})
    ]
    assert prints[0] == prints[5]
    assert len(set(prints)) == 5
