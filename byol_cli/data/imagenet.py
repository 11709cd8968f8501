"""dataset=imagenet: ImageNet (ILSVRC 2012) below one folder, as archives or unpacked."""

import shutil
import sys
from pathlib import Path

from torchvision.datasets.imagenet import META_FILE, parse_devkit_archive, parse_train_archive, parse_val_archive

from byol_cli.data.image_folder import scan_field
from byol_cli.data.imagenet_archives import ARCHIVES, DEVKIT
from byol_cli.data.images import FileImages
from byol_cli.data.labels import folder_labels
from byol_cli.data.sources import Sources, whole
from byol_cli.schema.dataset import ImageNetConfig
from byol_cli.schema.errors import InputError


def read_imagenet(config: ImageNetConfig) -> Sources:
    """1.28 million training images; the 50,000 of the official validation set are the test set, as in the paper.

    Raises:
        InputError: neither the folders nor their archives are there, or one of them is damaged.
    """
    root = Path(config.root).expanduser()
    for folder in ARCHIVES:
        if not (root / folder).is_dir():
            _unpack(root, folder)
    train_paths, test_paths = (scan_field("root", str(root / folder)) for folder in ARCHIVES)
    labels = folder_labels(train_paths, test_paths)
    train, test = (
        whole(
            FileImages(
                paths=paths,
                channels=3,
                labels=values,
                class_names=labels.class_names,
                skips_bad=config.skips_bad_images,
            )
        )
        for paths, values in ((train_paths, labels.train), (test_paths, labels.test))
    )
    return Sources(pretrain=train, labelled=train, test=test, origin=labels.origin)


def _unpack(root: Path, folder: str) -> None:
    """Unpack `train` or `val` under another name first: a folder left half full must not pass for the data set."""
    needed = [ARCHIVES[folder]]
    if folder == "val" and not (root / META_FILE).is_file():
        needed.append(DEVKIT)
    missing = [name for name in needed if not (root / name).is_file()]
    if missing:
        raise InputError(
            f"dataset.root={root}: there is no folder {folder}; put it there, with a folder a class, "
            f"or {' and '.join(missing)} from image-net.org"
        )
    unfinished = root / f"{folder}.unfinished"
    print(f"unpacking {root / ARCHIVES[folder]}, once; this takes a while", file=sys.stderr, flush=True)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        if DEVKIT in needed:
            parse_devkit_archive(root)
        if folder == "train":
            parse_train_archive(root, folder=unfinished.name)
        else:
            parse_val_archive(root, folder=unfinished.name)
        unfinished.rename(root / folder)
    except (RuntimeError, OSError, EOFError) as error:
        raise InputError(f"dataset.root={root}: unpacking failed: {' '.join(str(error).split())}") from error
