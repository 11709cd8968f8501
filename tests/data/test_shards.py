"""dataset=shards beside the folder that the shards were made of: byol_cli.data.shards and what it reads with."""

import pickle
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol_cli.data.bad_images import BadImage
from byol_cli.data.build import build_splits
from byol_cli.data.images import FileImages
from byol_cli.data.loader import training_batches
from byol_cli.data.shard_index import load_index
from byol_cli.data.shards import read_shards
from byol_cli.data.sources import Splits
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.errors import InputError
from byol_cli.views.pipeline import TwoViews

Config = Callable[..., DatasetConfig]
CHANNELS = torch.ones(3)


@pytest.fixture
def shards(photos: Path, make_shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The 24 photos in several shards, of which the working folder keeps indices."""
    monkeypatch.chdir(tmp_path)
    made = make_shards(photos, tmp_path / "shards", "--shard-size", "10240")
    assert 4 <= len(list(made.glob("*.tar"))) <= 10
    return made


def splits_of(config: DatasetConfig) -> Splits:
    return build_splits(config, timeout_seconds=60, log=lambda _: None)


def batches(splits: Splits, views: TwoViews, *, num_workers: int, start_step: int = 0) -> list[Any]:
    return list(
        training_batches(
            splits.pretrain,
            views,
            seed=3,
            batch_size=6,
            accumulation_steps=2,
            start_step=start_step,
            total_steps=4,
            num_workers=num_workers,
            timeout_seconds=60,
            bad_images=splits.bad_images,
            device=torch.device("cpu"),
            mean=CHANNELS,
            std=CHANNELS,
        )
    )


def same(first: list[Any], second: list[Any]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("labels", ["auto", "folders", "none"])
def test_splits_names_and_labels_are_those_of_the_folder(
    config_of: Config, photos: Path, shards: Path, labels: str
) -> None:
    ours = splits_of(config_of("shards", root=shards, labels=labels, test_fraction=0.2))
    folder = splits_of(config_of("image_folder", root=photos, labels=labels, test_fraction=0.2))
    assert ours.class_names == folder.class_names
    for name in ("pretrain", "train", "selection", "test"):
        one, other = getattr(ours, name), getattr(folder, name)
        assert one.indices.tolist() == other.indices.tolist()
        assert (one.labels is None) == (other.labels is None)
        assert one.labels is None or one.labels.tolist() == other.labels.tolist()
        assert [one.name(i) for i in range(len(one))] == [other.name(i) for i in range(len(other))]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_the_folder_bit_for_bit(
    config_of: Config, photos: Path, shards: Path, views: TwoViews, num_workers: int
) -> None:
    ours = splits_of(config_of("shards", root=shards))
    folder = batches(splits_of(config_of("image_folder", root=photos)), views, num_workers=0)
    assert same(batches(ours, views, num_workers=num_workers), folder)
    assert same(batches(ours, views, num_workers=num_workers, start_step=2), folder[4:])
    assert not same(batches(ours, views, num_workers=num_workers, start_step=1)[:4], folder[:4])


def test_a_copy_in_another_process_reads_the_same(config_of: Config, shards: Path) -> None:
    images = splits_of(config_of("shards", root=shards)).pretrain.images
    images.image(0)
    copy = pickle.loads(pickle.dumps(images))
    assert all(torch.equal(copy.image(i), images.image(i)) for i in range(len(images)))


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_decoded_images_can_be_kept(config_of: Config, shards: Path, cache: str) -> None:
    plain, kept = (splits_of(config_of("shards", root=shards, cache=one)).pretrain.images for one in (None, cache))
    assert all(torch.equal(plain.image(i), kept.image(i)) for i in range(len(plain)))


def test_the_fingerprint_is_that_of_the_images_however_they_are_spread(
    config_of: Config, photos: Path, shards: Path, make_shards: Callable[..., Path], tmp_path: Path
) -> None:
    fingerprint = splits_of(config_of("shards", root=shards)).fingerprint
    one = make_shards(photos, tmp_path / "one", "--prefix", "all")
    assert splits_of(config_of("shards", root=one)).fingerprint == fingerprint
    image = next((photos / "ant").glob("*.bmp"))
    data = bytearray(image.read_bytes())
    data[-5] ^= 1
    image.write_bytes(data)
    other = make_shards(photos, tmp_path / "other")
    assert splits_of(config_of("shards", root=other)).fingerprint != fingerprint


def edit(path: Path, place: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[place : place + len(data)] = data
    path.write_bytes(content)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda s: (s / "shard-000001.tar").unlink(), r"shard-000001\.tar is missing$"),
    "two missing": (
        lambda s: [(s / f"shard-00000{n}.tar").unlink() for n in (0, 2)],
        r"shard-000000\.tar is missing; .*shard-000002\.tar is missing$",
    ),
    "cut off": (
        lambda s: (s / "shard-000002.tar").write_bytes((s / "shard-000002.tar").read_bytes()[:-700]),
        r"shard-000002\.tar is cut off: it has [\d,]+ bytes, by its index [\d,]+$",
    ),
    "longer": (
        lambda s: (s / "shard-000002.tar").write_bytes((s / "shard-000002.tar").read_bytes() + bytes(512)),
        r"shard-000002\.tar was replaced: it has",
    ),
    "changed at its beginning": (
        lambda s: edit(s / "shard-000001.tar", 600, b"changed"),
        r"shard-000001\.tar does not hold the images that its index describes: it was replaced",
    ),
    "unknown": (
        lambda s: shutil.copy(s / "shard-000001.tar", s / "shard-000900.tar"),
        r"shard-000900\.tar is not in the index .*index\.npz; delete the index to build it anew$",
    ),
    "index cut off": (
        lambda s: (s / "index.npz").write_bytes((s / "index.npz").read_bytes()[:-30]),
        r"index\.npz is damaged, or no index of shards; delete it and make it anew$",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_shards_is_named(config_of: Config, shards: Path, fault: str) -> None:
    config: Any = config_of("shards", root=shards)
    assert read_shards(config).num_images == 24
    harm, words = FAULTS[fault]
    harm(shards)
    with pytest.raises(InputError, match=words):
        read_shards(config)


def test_exchanged_shards_of_one_size_are_named(
    config_of: Config, write_image: Callable[..., Path], make_shards: Callable[..., Path], tmp_path: Path
) -> None:
    for number in range(12):
        write_image(tmp_path / "equal" / f"{number:02d}.bmp", number)
    shards = make_shards(tmp_path / "equal", tmp_path / "shards", "--shard-size", "10240")
    first, second = shards / "shard-000000.tar", shards / "shard-000001.tar"
    assert first.stat().st_size == second.stat().st_size
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)
    config: Any = config_of("shards", root=shards)
    with pytest.raises(InputError, match=r"shard-000000\.tar holds what belongs into shard-000001\.tar: shards were"):
        read_shards(config)


def test_an_image_that_changed_within_a_shard_is_bad_where_it_is_read(config_of: Config, shards: Path) -> None:
    images = splits_of(config_of("shards", root=shards)).pretrain.images
    assert isinstance(images, FileImages)
    index: Any = images.paths.index  # type: ignore[attr-defined]
    middle = int(index.starts[0]) + 1
    edit(shards / "shard-000000.tar", int(index.offsets[middle]) + 20, b"\x01\x02\x03")
    with pytest.raises(BadImage, match=rf"shard-000000\.tar/{images.name(middle)}: the shard was changed or damaged"):
        images.image(middle)
    assert images.image(middle + 1).numel()


def test_the_index_knows_every_byte(photos: Path, shards: Path) -> None:
    with open(shards / "index.npz", "rb") as file:
        index = load_index(file, path="index.npz")
    for number in range(len(index)):
        data = (photos / index.name(number)).read_bytes()
        shard = (shards / index.shards[index.shard_of(number)]).read_bytes()
        begin = int(index.offsets[number])
        assert shard[begin : begin + int(index.sizes[number])] == data
        assert zlib.crc32(data) == index.checksums[number]


def test_the_index_takes_32_bytes_an_image_besides_its_name(shards: Path) -> None:
    with open(shards / "index.npz", "rb") as file:
        index = load_index(file, path="index.npz")
    of_shards = index.shard_sizes.nbytes + index.digests.nbytes + index.starts.nbytes
    assert index.nbytes - of_shards - index.names.nbytes == 32 * len(index) + 8


def test_a_damaged_index_is_refused_or_sound(shards: Path) -> None:
    whole = (shards / "index.npz").read_bytes()
    random, refused = np.random.default_rng(0), 0
    for _ in range(60):
        data = bytearray(whole)
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        (shards / "index.npz").write_bytes(data)
        try:
            with open(shards / "index.npz", "rb") as file:
                assert len(load_index(file, path="index.npz")) == 24
        except InputError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": lambda v: v + 10**6},
        {"sizes": lambda v: v + np.uint32(2**31)},
        {"starts": lambda v: v[::-1].copy()},
        {"name_offsets": lambda v: v - 1},
        {"labels": lambda v: v + 5},
        {"checksums": lambda v: v[:-1]},
        {"offsets": lambda v: v.astype(np.float64)},
        {"about": lambda v: np.frombuffer(v.tobytes().replace(b"shard-000001", b"../hard-0001"), dtype=np.uint8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_index_that_points_elsewhere_is_refused(shards: Path, change: dict[str, Callable[[Any], Any]]) -> None:
    with np.load(shards / "index.npz") as arrays:
        values = dict(arrays)
    for name, alter in change.items():
        values[name] = alter(values[name])
    np.savez(shards / "index.npz", **values)
    with open(shards / "index.npz", "rb") as file, pytest.raises(InputError, match=r"index\.npz is damaged"):
        load_index(file, path="index.npz")
