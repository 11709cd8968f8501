"""A data set as large as ImageNet in shards: what its index takes in memory, and how long a run looks before it trains.

Also how fast encoded images are read, from shards and from a folder, in a random order.
"""

import io
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
from PIL import Image

from benchmarks.options import Options
from benchmarks.report import Row, Table, number, rates
from benchmarks.turns import Contender, Turn, repeat, seconds_by_turns
from byol_cli.data.build import build_splits
from byol_cli.data.decode import EXTENSIONS
from byol_cli.data.images import FileImages, Files
from byol_cli.data.path_table import scan
from byol_cli.data.shards import read_shards
from byol_cli.schema.dataset import ShardsConfig

IMAGES, IN_A_SHARD, CLASSES = 1_281_167, 1000, 1000
MAX_SECONDS, MAX_MEGABYTES = 5.0, 100.0
PHOTO_BYTES, PHOTOS = 110_000, 2000


def tables(options: Options) -> Iterator[Table]:
    """The start on 1,281,167 images, then the reading."""
    with TemporaryDirectory() as folder:
        yield from _start(options, Path(folder))
    with TemporaryDirectory() as folder:
        yield _reading(options, Path(folder))


def _start(options: Options, folder: Path) -> Iterator[Table]:
    write_shards(folder / "shards", IMAGES)
    config = shards_config(folder)
    began = time.perf_counter()
    read_shards(config)
    built = time.perf_counter() - began
    contender = Contender(key="shards", title="shards", work=starts, units=1, settings={"config": config})
    seconds = [column[0] for column in seconds_by_turns([contender], rounds=options.rounds)]
    yield Table(
        key="start",
        title=f"{IMAGES:,} images in {-(-IMAGES // IN_A_SHARD):,} shards",
        unit="seconds",
        rows=[
            Row(key="index_seconds", title="first time: every tar file is read, the index kept", values=[built]),
            Row(key="start_seconds", title="from then on: index, checks, labels, splits, fingerprint", values=seconds),
        ],
        note=verdict("The start", max(seconds), MAX_SECONDS, "s"),
    )
    images = cast(FileImages, read_shards(config).pretrain.images)
    index = images.paths.index.nbytes / 1e6  # type: ignore[attr-defined]
    yield Table(
        key="memory",
        title="in memory",
        unit="MB",
        rows=[Row(key="index_megabytes", title="the index: places, sizes, checksums, names, labels", values=[index])],
        note=verdict("The index", index, MAX_MEGABYTES, "MB"),
    )


def verdict(what: str, value: float, limit: float, unit: str) -> str:
    """In words, whether a figure is below its limit."""
    return f"{what} is {'below' if value < limit else 'NOT BELOW'} {limit:g} {unit}: {number(value)} {unit}."


def starts(turn: Turn, *, config: ShardsConfig) -> None:
    """All that a run does with its data set before the first step, again and again."""
    repeat(turn, lambda: build_splits(config, timeout_seconds=60, log=lambda _: None), steps=1)


def shards_config(folder: Path) -> ShardsConfig:
    """Of the shards in a folder's `shards`, the index kept beside them."""
    from byol_cli.cli.compose import compose_config, load_config
    from byol_cli.schema.command import TrainConfig

    words = ["dataset=shards", "experiment=shards", f'dataset.root="{folder}/shards"', "trainer.device=cpu"]
    config = cast(TrainConfig, load_config(TrainConfig, compose_config("train", words)))
    return replace(cast(ShardsConfig, config.dataset), shards_dir=str(folder / "kept"))


def write_shards(folder: Path, images: int) -> None:
    """Small pictures under names as long as ImageNet's, with class numbers; each shard is a copy of the first."""
    folder.mkdir()
    first = folder / "train-000000.tar"
    write_shard(first, min(IN_A_SHARD, images))
    whole, rest = divmod(images, IN_A_SHARD)
    for shard in range(1, whole):
        shutil.copyfile(first, folder / f"train-{shard:06d}.tar")
    if rest and whole:
        write_shard(folder / f"train-{whole:06d}.tar", rest)


def write_shard(path: Path, images: int) -> None:
    """One of `images` samples: a picture of 8 x 8 pixels, and its class."""
    random = np.random.default_rng(0)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for place in range(images):
            buffer = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
            key = f"n{place % CLASSES:08d}/n{place % CLASSES:08d}_{place:05d}"
            for extension, data in (("JPEG", buffer.getvalue()), ("cls", str(place % CLASSES).encode())):
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _reading(options: Options, folder: Path) -> Table:
    """Files of the size of ImageNet's, which nobody decodes here."""
    (folder / "files").mkdir()
    (folder / "shards").mkdir()
    random = np.random.default_rng(0)
    for shard, start in enumerate(range(0, PHOTOS, 500)):
        with tarfile.open(folder / "shards" / f"{shard}.tar", "w") as tar:
            for place in range(start, start + 500):
                path = folder / "files" / f"{place:05d}.jpg"
                path.write_bytes(random.bytes(PHOTO_BYTES))
                tar.add(path, path.name)
    contenders = [
        Contender(
            key=key,
            title=title,
            work=reads,
            units=PHOTOS,
            settings={"folder": folder, "key": key},
            ours=key == "shards",
        )
        for key, title in (("shards", "shards, checked by CRC-32"), ("files", "a folder of files"))
    ]
    seconds = list(seconds_by_turns(contenders, rounds=options.rounds, threads=1))
    return Table(
        key="reading",
        title=f"{PHOTOS:,} images of {PHOTO_BYTES / 1000:g} kB read in random order, from the system's cache",
        unit="images/s",
        rows=rates(contenders, seconds),
    )


def reads(turn: Turn, *, folder: Path, key: str) -> None:
    """The encoded images, without decoding."""
    files: Files = scan([folder / "files"], EXTENSIONS) if key == "files" else _in_shards(folder)
    order = np.random.default_rng(1).permutation(PHOTOS).tolist()
    read: Callable[[], object] = lambda: [len(files.read(index)) for index in order]  # noqa: E731
    repeat(turn, read, steps=1)


def _in_shards(folder: Path) -> Files:
    from byol_cli.data.shard_files import ShardFiles
    from byol_cli.data.shard_lookup import find_index
    from byol_cli.data.shard_place import shard_place
    from byol_cli.data.shard_store import KeptShards, LocalShards

    place = shard_place("dataset.root", str(folder / "shards"))
    index = find_index(place, label_member="cls", room=KeptShards(folder=folder / "kept", max_bytes=1))
    return ShardFiles(index=index, store=LocalShards(folder=place.folder, names=index.shards))
