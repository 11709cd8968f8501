from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_cli.data.build import build_splits
from byol_cli.data.images import ArrayImages
from byol_cli.data.normalization import NORMALIZATIONS, measure_normalization, resolve_normalization
from byol_cli.data.sources import Subset, whole
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.errors import InputError

Config = Callable[..., DatasetConfig]


def in_memory(pixels: np.ndarray) -> Subset:
    return whole(ArrayImages(images=torch.from_numpy(pixels), labels=None, class_names=()))


def test_measured_values_are_numpys() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (500, 3, 6, 7), dtype=np.uint8)
    pixels[:, 1] //= 3
    mean, std = measure_normalization(in_memory(pixels))
    assert np.allclose(mean, (pixels / 255).mean(axis=(0, 2, 3)), atol=1e-12)
    assert np.allclose(std, (pixels / 255).std(axis=(0, 2, 3)), atol=1e-12)


def test_only_training_images_are_measured() -> None:
    pixels = np.zeros((10, 1, 2, 2), np.uint8)
    pixels[5:] = 255
    mean, _ = measure_normalization(in_memory(pixels).take(np.arange(5)))
    assert mean == [0.0]


def test_a_large_set_is_measured_on_a_fixed_sample_spread_over_it() -> None:
    pixels = np.arange(5000, dtype=np.int64)[:, None, None, None] * 255 // 4999 * np.ones((1, 1, 2, 2), np.int64)
    subset = in_memory(pixels.astype(np.uint8))
    mean, _ = measure_normalization(subset)
    assert abs(mean[0] - 0.5) < 0.005
    assert measure_normalization(subset)[0] == mean


def test_constant_images_can_be_divided_by_the_result() -> None:
    mean, std = measure_normalization(in_memory(np.full((4, 2, 3, 3), 51, np.uint8)))
    assert np.allclose(mean, 0.2)
    assert np.allclose(std, 1 / 255)


def test_files_of_any_size_count_the_same(config_of: Config, photos: Path) -> None:
    splits = build_splits(config_of("image_folder", root=photos), timeout_seconds=60, log=lambda _: None)
    mean, std = resolve_normalization(config_of("image_folder", root=photos), splits.pretrain)
    images = [splits.pretrain.images.image(int(index)).numpy() / 255 for index in splits.pretrain.indices]
    means = np.array([image.mean(axis=(1, 2)) for image in images])
    squares = np.array([(image**2).mean(axis=(1, 2)) for image in images])
    assert np.allclose(mean, means.mean(axis=0), atol=1e-12)
    assert np.allclose(std, np.sqrt(squares.mean(axis=0) - means.mean(axis=0) ** 2), atol=1e-12)


def test_named_fixed_and_no_normalization(config_of: Config) -> None:
    colour = in_memory(np.zeros((4, 3, 2, 2), np.uint8))
    imagenet = resolve_normalization(config_of("synthetic", normalization="imagenet"), colour)
    assert imagenet == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert resolve_normalization(config_of("synthetic", normalization="none"), colour) == ([0.0] * 3, [1.0] * 3)
    fixed = config_of("synthetic", normalization="fixed", mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    assert resolve_normalization(fixed, colour) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def test_a_result_can_be_changed_without_changing_the_constants(config_of: Config) -> None:
    colour = in_memory(np.zeros((4, 3, 2, 2), np.uint8))
    resolve_normalization(config_of("synthetic", normalization="cifar10"), colour)[0].clear()
    assert len(NORMALIZATIONS["cifar10"][0]) == 3


def test_another_channel_count_is_refused(config_of: Config) -> None:
    gray = in_memory(np.zeros((4, 1, 2, 2), np.uint8))
    with pytest.raises(InputError, match=r"dataset.normalization=imagenet is for 3 channels, the images have 1"):
        resolve_normalization(config_of("synthetic", normalization="imagenet"), gray)
    fixed = config_of("synthetic", normalization="fixed", mean=[0.1], std=[0.1, 0.2])
    with pytest.raises(InputError, match=r"dataset.normalization=fixed"):
        resolve_normalization(fixed, gray)
