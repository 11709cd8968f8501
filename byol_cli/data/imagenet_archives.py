"""ImageNet's archives (ILSVRC 2012), and who may have them unpacked. Torch is not needed here."""

from pathlib import Path

from byol_cli.schema.dataset import DatasetConfig, ImageNetConfig
from byol_cli.schema.errors import InputError

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}


def refuse_to_unpack(dataset: DatasetConfig, *, remedy: str) -> None:
    """Refuse a data set that would have to be unpacked, where nobody has named its folder; raises InputError.

    `remedy` says how to name it.
    """
    if isinstance(dataset, ImageNetConfig):
        root = Path(dataset.root).expanduser()
        packed = [folder for folder in ARCHIVES if not (root / folder).is_dir()]
        if packed:
            raise InputError(f"dataset.root={root}: there is no folder {packed[0]}, and archives are unpacked {remedy}")
