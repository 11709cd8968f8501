"""The data sets: one dataclass an option of `dataset=`, picked by `name` from DATASETS."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from byol_cli.schema.constraints import Count, Fraction, ImageSide, NonNegative, Probability, Range, Seed, UnitInterval
from byol_cli.schema.errors import InputError

Std = Annotated[float, Range(low=1e-3, high=1)]
"""Of values in [0, 1]: below a quarter of a grey level there is nothing to tell apart."""

NumChannels = Annotated[int, Range(low=1, cap=64)]


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """What every data set has. `channels=null` keeps the images' own count."""

    name: str
    channels: NumChannels | None
    labels: Literal["auto", "folders", "none"]
    normalization: Literal["auto", "imagenet", "cifar10", "cifar100", "stl10", "none", "fixed"]
    mean: list[Probability] | None
    std: list[Std] | None
    selection_fraction: Fraction
    split_seed: Seed

    def __post_init__(self) -> None:
        if (self.normalization == "fixed") != (self.mean is not None) or (self.mean is None) != (self.std is None):
            raise InputError(
                f"normalization={self.normalization}: mean and std are given together, "
                "with normalization=fixed and only then"
            )


@dataclass(frozen=True, kw_only=True)
class DigitsConfig(DatasetConfig):
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, enlarged to `image_size`."""

    image_size: Annotated[int, Range(low=8, cap=256)]
    test_fraction: Fraction


@dataclass(frozen=True, kw_only=True)
class FilesConfig(DatasetConfig):
    """A set of image files: they can be decoded once, shrunk to `cache_short_side` pixels and kept.

    With on_bad_image=skip at most `max_bad_images` of them, a share of the whole set, may be unreadable.
    """

    on_bad_image: Literal["fail", "skip"]
    max_bad_images: UnitInterval
    cache: Literal["ram", "disk"] | None
    cache_short_side: ImageSide
    cache_dir: str

    @property
    def skips_bad_images(self) -> bool:
        """Whether a run goes on without images that cannot be read."""
        return self.on_bad_image == "skip"


@dataclass(frozen=True, kw_only=True)
class ImageFolderConfig(FilesConfig):
    """Any nested folder of images, or several, or a text file of paths."""

    root: str | list[str] | None
    file_list: str | None
    labels_csv: str | None
    test_root: str | list[str] | None
    test_fraction: Fraction

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.root is None) == (self.file_list is None):
            raise InputError(
                "root: name the folder of images by dataset.root=FOLDER, "
                "or a text file of paths by dataset.file_list=FILE"
            )
        if self.labels_csv is not None and self.labels != "auto":
            raise InputError(
                f"labels={self.labels} and labels_csv={self.labels_csv} exclude each other; leave out dataset.labels"
            )


@dataclass(frozen=True, kw_only=True)
class ShardsConfig(FilesConfig):
    """Tar files as WebDataset writes them, in a folder or at a URL.

    `label_member` names the member of a sample that holds its class. Up to `shards_max_gb` of shards from a URL are
    kept in `shards_dir`, and so is an index that had to be built; with 0 nothing is written.
    """

    root: str | None
    test_root: str | None
    test_fraction: Fraction
    label_member: str
    shards_dir: str
    shards_max_gb: NonNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is None:
            raise InputError("root: name the shards by dataset.root=FOLDER, a URL, or a pattern in quotes")
        if not re.fullmatch(r"json:\S+|(?!json$)[a-z0-9_.]+", self.label_member):
            raise InputError(f"label_member={self.label_member} must be an extension such as cls or txt, or json:KEY")

    @property
    def urls(self) -> dict[str, str]:
        """The settings that name what lies elsewhere."""
        roots = {"root": self.root, "test_root": self.test_root}
        return {field: root for field, root in roots.items() if root is not None and "://" in root}


@dataclass(frozen=True, kw_only=True)
class TorchvisionConfig(DatasetConfig):
    """A set that torchvision reads and can download: CIFAR-10, CIFAR-100, STL-10."""

    root: str
    download: bool


@dataclass(frozen=True, kw_only=True)
class ImageNetConfig(FilesConfig):
    """ImageNet (ILSVRC 2012) from its archives, or from train/ and val/ folders already unpacked, below `root`."""

    root: str


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig(DatasetConfig):
    """Random images for benchmarks; it has no labels and nothing to learn."""

    num_images: Count
    image_size: ImageSide


DATASETS: dict[str, type[DatasetConfig]] = {
    "digits": DigitsConfig,
    "image_folder": ImageFolderConfig,
    "cifar10": TorchvisionConfig,
    "cifar100": TorchvisionConfig,
    "stl10": TorchvisionConfig,
    "imagenet": ImageNetConfig,
    "shards": ShardsConfig,
    "synthetic": SyntheticConfig,
}


def are_apart(one: DatasetConfig, other: DatasetConfig) -> bool:
    """Whether two data sets surely have no image in common: of different names, or below folders of their own."""
    folders = _folders(one), _folders(other)
    if folders[0] is None or folders[1] is None:
        return False
    if not folders[0] or not folders[1]:
        return one.name != other.name
    return not any(a == b or a in b.parents or b in a.parents for a in folders[0] for b in folders[1])


def _folders(config: DatasetConfig) -> list[Path] | None:
    """Below which its image files lie; none for a set without such; None where nothing tells."""
    if isinstance(config, ImageNetConfig):
        return [Path(config.root).expanduser().resolve()]
    if not isinstance(config, ImageFolderConfig):
        return []
    if config.root is None:
        return None
    named = [config.root, *([] if config.test_root is None else [config.test_root])]
    roots = [root for value in named for root in ([value] if isinstance(value, str) else value)]
    return [Path(root).expanduser().resolve() for root in roots]
