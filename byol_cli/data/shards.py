"""dataset=shards: images in tar files as WebDataset writes them, here or far away."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from byol_cli.data.image_folder import own_channels
from byol_cli.data.images import FileImages
from byol_cli.data.labels import Labels, auto_labels, describe, folder_labels, no_labels
from byol_cli.data.path_table import PathTable
from byol_cli.data.shard_files import ShardFiles
from byol_cli.data.shard_index import ShardIndex, is_number
from byol_cli.data.shard_lookup import find_index, say
from byol_cli.data.shard_place import ShardPlace, shard_place
from byol_cli.data.shard_store import FIELD, KeptShards, LocalShards, RemoteShards
from byol_cli.data.sources import Sources, whole
from byol_cli.data.splits import Split, hold_out
from byol_cli.schema.dataset import ShardsConfig
from byol_cli.schema.errors import InputError

CLASSES_FILE = "classes.txt"
"""Beside the shards: the name of class 0, of class 1 ... a line each."""


def read_shards(config: ShardsConfig) -> Sources:
    """Find the images and their labels; the test set is `test_root`, or else `test_fraction` of the images.

    Raises:
        InputError: shards that are missing, cut off, exchanged or changed, or labels that do not fit.
    """
    room = KeptShards(folder=Path(config.shards_dir).expanduser(), max_bytes=config.shards_max_gb * 1e9)
    train = _opened("root", str(config.root), config, room)
    test = None if config.test_root is None else _opened("test_root", config.test_root, config, room)
    if test is not None:
        _refuse_shared(train, test)
    labels = _labels(config, train, test)
    images = partial(
        FileImages,
        channels=own_channels(train.files, skips_bad=config.skips_bad_images),
        class_names=labels.class_names,
        skips_bad=config.skips_bad_images,
    )
    training = whole(images(paths=train.files, labels=labels.train))
    if test is not None:
        held_out = whole(images(paths=test.files, labels=labels.test)).labelled()
    else:
        training, held_out = hold_out(training, config.test_fraction, seed=config.split_seed, split=Split.TEST)
    return Sources(pretrain=training, labelled=training, test=held_out if len(held_out) else None, origin=labels.origin)


@dataclass(frozen=True, kw_only=True)
class _Shards:
    """Shards that were found good; `class_names` are those of the index's label values."""

    files: ShardFiles
    class_names: tuple[str, ...]

    @property
    def index(self) -> ShardIndex:
        return self.files.index

    @property
    def table(self) -> PathTable:
        """The images' names as if they were files."""
        index = self.index
        return PathTable(
            roots=("",),
            blob=index.names,
            offsets=index.name_offsets,
            root_index=np.zeros(len(index), dtype=np.uint16),
        )


def _opened(field: str, root: str, config: ShardsConfig, room: KeptShards) -> _Shards:
    place = shard_place(f"dataset.{field}", root)
    index = find_index(place, label_member=config.label_member, room=room)
    if not place.is_remote:
        files = ShardFiles(index=index, store=LocalShards(folder=place.folder, names=index.shards))
    else:
        files = ShardFiles(index=index, store=_fetched(place, index, room))
    files.check()
    return _Shards(files=files, class_names=_class_names(place, index))


def _fetched(place: ShardPlace, index: ShardIndex, room: KeptShards) -> RemoteShards:
    kept = room.claim(index)
    store = RemoteShards(url=place.folder, index=index, room=room, kept=kept)
    try:
        store.keep(np.flatnonzero(kept).tolist(), log=say)
    except OSError as error:
        raise InputError(f"{FIELD}: {error.strerror}") from error
    if not kept.all():
        say(
            f"{place.root}: {kept.sum():,} of {len(kept):,} shards are kept here; images of the others are read one by "
            "one (dataset.shards_max_gb)"
        )
    return store


def _refuse_shared(train: _Shards, test: _Shards) -> None:
    """A test image that is trained on would make every measurement a lie."""
    trained = {digest.tobytes() for digest in train.index.digests}
    for shard, digest in enumerate(test.index.digests):
        if digest.tobytes() in trained:
            raise InputError(f"dataset.test_root: {test.files.store.path(shard)} is a training shard too")


def _class_names(place: ShardPlace, index: ShardIndex) -> tuple[str, ...]:
    """Of the label values: a number is that line of the classes file, where there is one."""
    values = index.label_values
    data = place.read(CLASSES_FILE) if values and all(map(is_number, values)) else None
    if data is None:
        return values
    path = f"{place.folder}/{CLASSES_FILE}"
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8: {error}") from error
    if int(values[-1]) >= len(lines):
        raise InputError(f"{path} has {len(lines):,} lines, and there are images of class {values[-1]}, counted from 0")
    return tuple(lines[int(value)].strip() for value in values)


def _labels(config: ShardsConfig, train: _Shards, test: _Shards | None) -> Labels:
    if config.labels == "none":
        return no_labels("dataset.labels=none")
    tables = (train.table, None if test is None else test.table)
    if config.labels == "folders":
        return folder_labels(*tables)
    if len(train.class_names) > 1:
        return _member_labels(config.label_member, train, test)
    if train.class_names:
        return no_labels(f"all images are of class {train.class_names[0]}")
    return auto_labels(*tables)


def _member_labels(member: str, train: _Shards, test: _Shards | None) -> Labels:
    """Those of the samples themselves. Test shards may number their classes in another way: names count."""
    names = train.class_names
    if len(set(names)) < len(names):
        raise InputError(f"dataset.label_member={member}: two classes have one name, {describe(sorted(names))}")
    unlabelled = int((train.index.labels < 0).sum())
    test_labels = None
    if test is not None:
        names = (*names, *sorted(set(test.class_names) - set(names)))  # new classes can be searched for
        places = {name: place for place, name in enumerate(names)}
        codes = np.array([*(places[name] for name in test.class_names), -1], dtype=np.int64)
        test_labels = codes[test.index.labels]  # -1, no label, takes the last
    return Labels(
        train=train.index.labels,
        test=test_labels,
        class_names=names,
        origin=f"{describe(names)} from the samples' {member}, {unlabelled:,} images without a label",
    )
