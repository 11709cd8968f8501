"""dataset=image_folder: the user's own images, in folders however nested or named by a text file."""

import os
from functools import partial
from pathlib import Path

import numpy as np

from byol_cli.data.bad_images import readable
from byol_cli.data.decode import EXTENSIONS, count_channels
from byol_cli.data.evenly_spaced import evenly_spaced
from byol_cli.data.images import FileImages, Files
from byol_cli.data.labels import Labels, auto_labels, csv_labels, folder_labels, no_labels
from byol_cli.data.path_table import PathTable, from_file_list, scan
from byol_cli.data.sources import Sources, whole
from byol_cli.data.splits import Split, hold_out
from byol_cli.schema.dataset import ImageFolderConfig
from byol_cli.schema.errors import InputError

CHANNEL_SAMPLE = 16


def read_image_folder(config: ImageFolderConfig) -> Sources:
    """Find the images and their labels; the test set is `test_root`, or else `test_fraction` of the images.

    Raises:
        InputError: a folder, list or label file that is missing or does not fit.
    """
    train_paths = _training_paths(config)
    test_paths = None if config.test_root is None else scan_field("test_root", config.test_root)
    if test_paths is not None:
        _refuse_shared(train_paths, test_paths)
    labels = _labels(config, train_paths, test_paths)

    def names(of_images: np.ndarray | None) -> tuple[str, ...]:
        return () if of_images is None else labels.class_names

    images = partial(
        FileImages,
        channels=own_channels(train_paths, skips_bad=config.skips_bad_images),
        skips_bad=config.skips_bad_images,
    )
    train = whole(images(paths=train_paths, labels=labels.train, class_names=names(labels.train)))
    if test_paths is not None:
        test = whole(images(paths=test_paths, labels=labels.test, class_names=names(labels.test))).labelled()
    else:
        train, test = hold_out(train, config.test_fraction, seed=config.split_seed, split=Split.TEST)
    return Sources(pretrain=train, labelled=train, test=test if len(test) else None, origin=labels.origin)


def scan_field(field: str, value: str | list[str]) -> PathTable:
    """The images below the folder or folders that `dataset.<field>` names.

    Raises:
        InputError: one of them is missing, is no folder or adds no image.
    """
    roots = [Path(root).expanduser() for root in ([value] if isinstance(value, str) else value)]
    if not roots:
        raise InputError(f"dataset.{field}=[] names no folder")
    for root in roots:
        if not root.is_dir():
            raise InputError(
                f"dataset.{field}={root}: {'this is no folder' if root.exists() else 'there is no such folder'}"
            )
    paths = scan(roots, EXTENSIONS)
    for number, root in enumerate(roots):
        if not (paths.root_index == number).any():
            elsewhere = " that no other root has" if len(roots) > 1 else ""
            raise InputError(f"dataset.{field}={root}: no images there{elsewhere}; looked for {' '.join(EXTENSIONS)}")
    return paths


def own_channels(paths: Files, *, skips_bad: bool) -> int:
    """1 where each of a few files spread over the set is gray, else 3; for `.npy` files, what the first one has.

    Raises:
        InputError: one of the files cannot be read; with `skips_bad`, none can.
    """
    sample = evenly_spaced(len(paths), at_most=CHANNEL_SAMPLE)
    counts = readable(lambda index: count_channels(paths.read(index), path=paths[index]), sample, skips_bad=skips_bad)
    if paths[0].lower().endswith(".npy"):
        return next(counts)
    return 1 if all(count == 1 for count in counts) else 3


def _training_paths(config: ImageFolderConfig) -> PathTable:
    if config.root is not None:
        return scan_field("root", config.root)
    file_list = Path(str(config.file_list)).expanduser()
    paths = from_file_list(file_list, must_exist=not config.skips_bad_images)
    if not len(paths):
        raise InputError(
            f"dataset.file_list={file_list} names no image; it takes a path a line, relative to its own folder"
        )
    return paths


def _labels(config: ImageFolderConfig, train: PathTable, test: PathTable | None) -> Labels:
    if config.labels_csv is not None:
        return csv_labels(Path(config.labels_csv).expanduser(), train, test)
    if config.labels == "none":
        return no_labels("dataset.labels=none")
    return folder_labels(train, test) if config.labels == "folders" else auto_labels(train, test)


def _refuse_shared(train: PathTable, test: PathTable) -> None:
    """A test image that is trained on would make every measurement a lie."""
    test_files = set(_resolved(test))
    for index, file in enumerate(_resolved(train)):
        if file in test_files:
            raise InputError(
                f"dataset.test_root: {train[index]} is a training image too; a test image must not be trained on"
            )


def _resolved(paths: PathTable) -> list[str]:
    """Each file's path, links in its root resolved."""
    roots = [os.path.realpath(root) for root in paths.roots]
    return [os.path.normpath(os.path.join(roots[paths.root_index[i]], paths.relative(i))) for i in range(len(paths))]
