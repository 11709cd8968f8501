"""Small real images, configurations and views."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from byol_cli.schema.augmentation import Blur, Crop, Flip, Grayscale, Jitter, Noise, Rotation, Shear, Solarize, View
from byol_cli.schema.dataset import DATASETS, DatasetConfig
from byol_cli.views.pipeline import TwoViews

COMMON: dict[str, Any] = {
    "channels": None,
    "labels": "auto",
    "normalization": "auto",
    "mean": None,
    "std": None,
    "selection_fraction": 0.25,
    "split_seed": 0,
}
FILES: dict[str, Any] = {
    "cache": None,
    "cache_short_side": 256,
    "cache_dir": "cache",
    "on_bad_image": "fail",
    "max_bad_images": 0.01,
}
OWN: dict[str, dict[str, Any]] = {
    "digits": {"image_size": 16, "test_fraction": 0.2},
    "image_folder": {
        **FILES,
        "root": None,
        "file_list": None,
        "labels_csv": None,
        "test_root": None,
        "test_fraction": 0.0,
    },
    "cifar10": {"root": "data", "download": False},
    "cifar100": {"root": "data", "download": False},
    "stl10": {"root": "data", "download": False},
    "imagenet": {**FILES, "root": "data"},
    "shards": {
        **FILES,
        "root": None,
        "test_root": None,
        "test_fraction": 0.0,
        "label_member": "cls",
        "shards_dir": "kept",
        "shards_max_gb": 1.0,
    },
    "synthetic": {"num_images": 20, "image_size": 8},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config_of() -> Callable[..., DatasetConfig]:
    """`config_of("digits", image_size=8)`: a data set's configuration, its values changed."""

    def make(name: str, **changes: Any) -> DatasetConfig:
        values = {**COMMON, **OWN[name], **{key: str(v) if isinstance(v, Path) else v for key, v in changes.items()}}
        return DATASETS[name](name=name, **values)

    return make


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """`write_image(path, number)`: a picture that differs by its number; its parent folders are made."""

    def write(path: Path, number: int = 0, *, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = size
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """24 images of several sizes and formats in 3 class folders."""
    root = tmp_path / "photos"
    for number in range(24):
        suffix = ("png", "jpg", "bmp")[number // 3 % 3]
        folder = ("ant", "bee", "cat")[number % 3]
        write_image(root / folder / f"{number:02d}.{suffix}", number, size=(10 + number, 20 - number // 2))
    return root


@pytest.fixture
def views() -> TwoViews:
    """Two views of 8 x 8 pixels with most operations on."""
    view = View(
        crop=Crop(probability=1.0, scale=(0.2, 1.0), ratio=(0.75, 1.3333), interpolation="bicubic"),
        rotation=Rotation(probability=0.5, degrees=(-20.0, 20.0)),
        shear=Shear(probability=0.0, degrees=(0.0, 0.0)),
        flip=Flip(probability=0.5),
        jitter=Jitter(probability=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
        grayscale=Grayscale(probability=0.2),
        blur=Blur(probability=0.5, sigma=(0.1, 2.0), kernel=0.5),
        solarize=Solarize(probability=0.2, threshold=0.5),
        noise=Noise(probability=0.5, std=(0.0, 0.1)),
    )
    return TwoViews(view1=view, view2=view, image_size=8, seed=5, formulas="torchvision")


@pytest.fixture
def make_shards(capsys: pytest.CaptureFixture[str]) -> Callable[..., Path]:
    """`make_shards(folder, target, "--shard-size", "4kB")`: the folder of shards that the script writes."""
    import make_shards as script

    def make(source: Path, target: Path, *words: str) -> Path:
        assert script.main([str(source), str(target), "--workers", "1", *words]) == 0
        return target

    return make
