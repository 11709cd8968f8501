"""The cache of decoded images: byol_cli.data.cache and byol_cli.data.cache_build."""

import gc
import io
import multiprocessing
import os
import pickle
import signal
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from byol_cli.data import cache as cache_module
from byol_cli.data import cache_build
from byol_cli.data.bad_images import BadImages
from byol_cli.data.build import build_splits
from byol_cli.data.cache import CachedImages
from byol_cli.data.centre_crops import evaluation_batches
from byol_cli.data.decode import EXTENSIONS, decode
from byol_cli.data.images import FileImages
from byol_cli.data.path_table import scan
from byol_cli.schema.dataset import DATASETS, DatasetConfig, FilesConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import load, plain

Config = Callable[..., FilesConfig]
Writer = Callable[..., Path]

SIDE = 12


@dataclass(frozen=True)
class WithData:
    dataset: DatasetConfig


def quiet(_: str) -> None:
    pass


def files_in(root: Path, channels: int = 3) -> FileImages:
    paths = scan([root], EXTENSIONS)
    labels = np.arange(len(paths)) % 3
    return FileImages(paths=paths, channels=channels, labels=labels, class_names=("ant", "bee", "cat"), skips_bad=False)


def cached(images: FileImages, config: FilesConfig, *, log: Callable[[str], None]) -> CachedImages:
    bad_images = BadImages(num_images=len(images), max_share=0.5, say=log)
    return cache_module.cached(images, config, bad_images=bad_images, timeout_seconds=60, log=log)


def options(config_of: Config, folder: Path, cache: str | None = "disk", **changes: Any) -> FilesConfig:
    return config_of(
        "image_folder", **{"root": "x", "cache": cache, "cache_dir": folder, "cache_short_side": SIDE, **changes}
    )


def expected(images: FileImages, index: int, short_side: int = SIDE) -> torch.Tensor:
    pixels = decode(images.paths[index], images.channels)
    if min(pixels.shape[1:]) > short_side:
        pixels = resize(pixels, [short_side], interpolation=InterpolationMode.BICUBIC, antialias=True)
    return pixels


def refuse_to_decode(data: bytearray, channels: int, *, path: str) -> torch.Tensor:
    raise AssertionError(f"{path} is decoded once more")


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


@pytest.fixture(autouse=True)
def nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_build, "_in_memory", {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("cache", ["disk", "ram"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_the_files_shrunk(
    config_of: Config, photos: Path, folder: Path, write_image: Writer, cache: str, channels: int
) -> None:
    write_image(photos / "large.png", 50, size=(90, 40))
    write_image(photos / "wide.jpg", 51, size=(13, 300))
    write_image(photos / "gray.png", 52, size=(40, 30), mode="L")
    write_image(photos / "tiny.png", 53, size=(1, 2))
    write_image(photos / "exact.bmp", 54, size=(SIDE, 50))
    images = files_in(photos, channels)
    kept = cached(images, options(config_of, folder, cache), log=quiet)
    assert len(kept) == len(images) == 29
    shapes = set()
    for index in range(len(images)):
        pixels = kept.image(index)
        assert torch.equal(pixels, expected(images, index)), images.name(index)
        assert pixels.is_contiguous() or pixels.permute(1, 2, 0).is_contiguous()
        assert kept.name(index) == images.name(index)
        shapes.add(tuple(pixels.shape[1:]))
    assert {(27, 12), (12, 276), (16, 12), (1, 2), (12, 50)} <= shapes


def test_planes_lie_as_a_decoder_leaves_them(config_of: Config, photos: Path, folder: Path) -> None:
    pixels = cached(files_in(photos), options(config_of, folder), log=quiet).image(5)
    _, _, width = pixels.shape
    assert pixels.stride() == (1, 3 * width, 3)


def test_what_is_returned_may_be_changed(config_of: Config, photos: Path, folder: Path) -> None:
    kept = cached(files_in(photos), options(config_of, folder), log=quiet)
    before = kept.image(0).clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.image(0).fill_(7)
    assert torch.equal(kept.image(0), before)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same_pixels(config_of: Config, photos: Path, folder: Path, method: str) -> None:
    images = files_in(photos)
    disk, ram = (cached(images, options(config_of, folder, cache), log=quiet) for cache in ("disk", "ram"))
    if method == "fork":
        ram.image(0)  # a map that is open already is inherited
    with multiprocessing.get_context(method).Pool(1) as pool:
        for kept in (disk, ram):
            assert torch.equal(pool.apply(kept.image, (7,)), expected(images, 7))


def test_it_pickles_small_before_and_after_use(config_of: Config, tmp_path: Path, write_image: Writer) -> None:
    write_image(tmp_path / "photos" / "a.png", size=(200, 300))
    images = files_in(tmp_path / "photos")
    kept = cached(images, options(config_of, tmp_path / "cache", cache_short_side=200), log=quiet)
    before = len(pickle.dumps(kept))
    kept.image(0)
    assert len(pickle.dumps(kept)) == before < 2000 < kept.pixels.nbytes


def test_a_second_run_decodes_nothing(
    config_of: Config, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    images = files_in(photos)
    first = cached(images, options(config_of, folder), log=said.append)
    wanted = [first.image(index) for index in range(24)]
    monkeypatch.setattr("byol_cli.data.images.decode_data", refuse_to_decode)
    again = cached(files_in(photos), options(config_of, folder), log=said.append)
    assert all(torch.equal(again.image(index), wanted[index]) for index in range(24))
    begun, built, found = said
    assert begun.startswith(f"dataset.cache=disk: decoding into {folder}, once; this takes about 0.00 GB (24 images")
    assert built.startswith(f"dataset.cache=disk: 24 decoded images, 0.00 GB in {folder}, built in 0.")
    assert found.startswith(f"dataset.cache=disk: 24 decoded images, 0.00 GB in {folder}, found in 0.")


def test_labels_do_not_make_another_cache(config_of: Config, photos: Path, folder: Path) -> None:
    images = files_in(photos)
    kept = cached(images, options(config_of, folder), log=quiet)
    assert kept.labels is images.labels
    assert kept.class_names == ("ant", "bee", "cat")
    forgotten = kept.without_labels()
    assert (forgotten.labels, forgotten.class_names) == (None, ())
    cached(images.without_labels(), options(config_of, folder), log=quiet)
    assert len(listing(folder)) == 1


def test_channels_can_still_be_converted(config_of: Config, photos: Path, folder: Path) -> None:
    kept = cached(files_in(photos, 1), options(config_of, folder), log=quiet)
    red_green_blue = kept.with_channels(3)
    assert torch.equal(red_green_blue.image(2), kept.image(2).expand(3, -1, -1))
    assert (kept.channels, red_green_blue.channels) == (1, 3)
    assert kept.fingerprint != red_green_blue.fingerprint


def test_short_side_channels_and_files_make_another_cache(
    config_of: Config, photos: Path, folder: Path, write_image: Writer
) -> None:
    kept = [
        cached(files_in(photos), options(config_of, folder), log=quiet),
        cached(files_in(photos), options(config_of, folder, cache_short_side=SIDE + 1), log=quiet),
        cached(files_in(photos, 1), options(config_of, folder), log=quiet),
    ]
    write_image(photos / "ant" / "00.png", 77, size=(50, 60))
    kept.append(cached(files_in(photos), options(config_of, folder), log=quiet))
    assert torch.equal(kept[-1].image(0), expected(files_in(photos), 0))
    assert len({images.fingerprint for images in kept}) == len(listing(folder)) == 4


def test_another_set_with_the_same_names_and_sizes_is_told_apart(
    config_of: Config, tmp_path: Path, folder: Path, write_image: Writer
) -> None:
    for number in range(2):
        write_image(tmp_path / str(number) / "frame.bmp", number)
    first, second = (files_in(tmp_path / str(number)) for number in range(2))
    assert first.fingerprint != second.fingerprint
    for images in (first, second):
        kept = cached(images, options(config_of, folder), log=quiet)
        assert torch.equal(kept.image(0), expected(images, 0))


def test_memory_and_disk_are_the_same_data(config_of: Config, photos: Path, folder: Path) -> None:
    prints = {cached(files_in(photos), options(config_of, folder, c), log=quiet).fingerprint for c in ("disk", "ram")}
    assert len(prints) == 1


def test_the_jobs_of_a_sweep_share_what_is_in_memory(
    config_of: Config, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    first = cached(files_in(photos), options(config_of, folder, "ram"), log=quiet)
    monkeypatch.setattr("byol_cli.data.images.decode_data", refuse_to_decode)
    again = cached(files_in(photos), options(config_of, folder, "ram"), log=said.append)
    assert again.pixels is first.pixels
    assert [line.split(", found in")[0] for line in said] == ["dataset.cache=ram: 24 decoded images, 0.00 GB in memory"]
    assert not folder.exists()


@pytest.mark.parametrize("memfd", [True, False])
def test_memory_is_given_back(
    config_of: Config, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memfd: bool
) -> None:
    if not memfd:
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    images = files_in(photos)
    kept = cached(images, options(config_of, tmp_path / "unused", "ram"), log=quiet)
    path = kept.pixels.path
    inode = os.stat(path).st_ino
    assert (path.parent == tmp_path) == (not memfd)
    assert torch.equal(kept.image(3), expected(images, 3))
    del kept
    cache_build._in_memory.clear()
    gc.collect()
    assert not path.exists() or os.stat(path).st_ino != inode


def test_an_unreadable_image_is_named_and_leaves_no_cache(config_of: Config, photos: Path, folder: Path) -> None:
    for number in range(40):
        (photos / f"{number}.png").write_bytes((photos / "ant" / "00.png").read_bytes())
    images = files_in(photos)
    broken = next(i for i in range(len(images)) if i not in cache_build.evenly_spaced(len(images), at_most=32))
    Path(images.paths[broken]).write_bytes(b"no image")
    with pytest.raises(InputError, match="this is no image in a format") as refused:
        cached(images, options(config_of, folder), log=quiet)
    assert str(refused.value).startswith(images.paths[broken])
    assert listing(folder) == []


def test_an_interrupted_build_leaves_no_cache(
    config_of: Config, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(file: io.BufferedWriter, *_: object, **__: object) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_build, "write_pixels", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached(files_in(photos), options(config_of, folder), log=quiet)
    assert listing(folder) == []


def test_a_killed_build_is_no_cache_and_is_cleared_away(
    config_of: Config, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(file: io.BufferedWriter, *_: object, **__: object) -> None:
        file.write(b"half of it")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    images, config = files_in(photos), options(config_of, folder)
    with monkeypatch.context() as patch:
        patch.setattr(cache_build, "write_pixels", die)
        builder = multiprocessing.get_context("fork").Process(
            target=cached, args=(images, config), kwargs={"log": quiet}
        )
        builder.start()
        builder.join()
    assert builder.exitcode == -signal.SIGKILL
    assert [Path(name).suffix for name in listing(folder)] == [".unfinished"]
    other = options(config_of, folder, cache_short_side=SIDE + 3)
    assert torch.equal(cached(images, other, log=quiet).image(1), expected(images, 1, SIDE + 3))
    assert [Path(name).suffix for name in listing(folder)] == [".pixels"]
    assert torch.equal(cached(images, config, log=quiet).image(1), expected(images, 1))


def test_of_two_processes_one_builds_and_the_other_waits(
    config_of: Config, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork")
    lines, waiting = context.SimpleQueue(), context.Event()
    write = cache_build.write_pixels

    def write_when_another_waits(*given: Any, **named: Any) -> None:
        assert waiting.wait(timeout=20)
        write(*given, **named)

    def say(line: str) -> None:
        lines.put(line)
        if "waiting for another process" in line:
            waiting.set()

    monkeypatch.setattr(cache_build, "write_pixels", write_when_another_waits)
    builders = [
        context.Process(target=cached, args=(files_in(photos), options(config_of, folder)), kwargs={"log": say})
        for _ in range(2)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0]
    said = [lines.get() for _ in range(4)]
    assert [sum(word in line for line in said) for word in ("once", "waiting", "built in", "found in")] == [1, 1, 1, 1]


@pytest.mark.parametrize("damage", ["cut off", "longer", "foreign", "empty"])
def test_a_damaged_file_is_built_again_and_said_so(
    config_of: Config, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    images, config = files_in(photos), options(config_of, folder)
    path = cached(images, config, log=quiet).pixels.path
    whole = path.read_bytes()
    spoilt = {"cut off": whole[:-1], "longer": whole + b"x", "foreign": b"hello" * len(whole), "empty": b""}
    path.write_bytes(spoilt[damage])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0 if path.exists() else 10**9))
    said: list[str] = []
    kept = cached(images, config, log=said.append)
    assert said[0] == f"dataset.cache=disk: {path} is damaged or cut off; it is built again"
    assert "built in" in said[-1]
    assert path.read_bytes() == whole
    assert torch.equal(kept.image(9), expected(images, 9))


def test_a_cache_that_goes_away_during_the_run_is_named(config_of: Config, photos: Path, folder: Path) -> None:
    kept = cached(files_in(photos), options(config_of, folder), log=quiet)
    kept.pixels.path.unlink()
    with pytest.raises(InputError, match="has gone or changed") as refused:
        kept.image(0)
    assert str(refused.value).startswith(str(kept.pixels.path))


def test_a_cache_that_does_not_fit_is_refused(
    config_of: Config, tmp_path: Path, folder: Path, write_image: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):  # each takes 250 x 250 x 3 = 187,500 bytes, all of them 7.5 MB
        Image.new("RGB", (500, 500)).save(write_image(tmp_path / "photos" / f"{number}.png"))
    images = files_in(tmp_path / "photos")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=8_000_000))
    monkeypatch.setattr(cache_build, "available_memory", lambda: 6_000_000)
    monkeypatch.setattr(cache_build, "_gb", lambda size: f"{size:.0f} bytes")
    for cache, place in (("disk", f"8000000 bytes free in {folder}"), ("ram", "6000000 bytes free in memory")):
        with pytest.raises(InputError) as refused:
            cached(images, options(config_of, folder, cache, cache_short_side=250), log=quiet)
        assert str(refused.value) == (
            f"dataset.cache={cache} needs about 7500000 bytes (40 images, dataset.cache_short_side=250), "
            f"but of the {place} it may take 90%; a smaller dataset.cache_short_side needs less"
        )
    assert listing(folder) == []
    cached(images, options(config_of, folder, cache_short_side=150), log=quiet)


@pytest.mark.parametrize(("cache", "named"), [("disk", r"dataset\.cache_dir=.*cache"), ("ram", r"dataset\.cache=ram")])
def test_a_disk_that_fills_up_is_one_line(
    config_of: Config, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, cache: str, named: str
) -> None:
    def fill_up(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_build, "write_pixels", fill_up)
    with pytest.raises(InputError, match=f"^{named}: No space left on device$"):
        cached(files_in(photos), options(config_of, folder, cache), log=quiet)
    assert not folder.exists() or listing(folder) == []


def test_a_folder_that_cannot_be_used_is_named(config_of: Config, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match=r"^dataset\.cache_dir=.*taken: (File exists|Not a directory)$"):
        cached(files_in(photos), options(config_of, tmp_path / "taken"), log=quiet)


def test_the_home_folder_is_found(
    config_of: Config, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cached(files_in(photos), options(config_of, Path("~/kept")), log=quiet)
    assert len(listing(tmp_path / "kept")) == 1


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("cache", "yes", "dataset.cache=yes must be one of ram, disk"),
        ("cache", True, "dataset.cache=true must be one of ram, disk"),
        ("cache_short_side", 0, "dataset.cache_short_side=0 must be at least 8"),
        ("cache_short_side", "256", "dataset.cache_short_side=256 must be a whole number"),
        ("cache_dir", None, "dataset.cache_dir=null must be text"),
    ],
)
def test_bad_settings_are_refused(config_of: Config, field: str, value: Any, why: str) -> None:
    values = {"dataset": {**plain(config_of("image_folder", root="x")), field: value}}
    with pytest.raises(InputError, match=f"^{why}$"):
        load(WithData, values, {DatasetConfig: DATASETS})


def test_only_files_have_a_cache(config_of: Config) -> None:
    values = {"dataset": {**plain(config_of("digits")), "cache": "ram"}}
    with pytest.raises(InputError, match="dataset.cache belongs to dataset=image_folder or dataset=imagenet"):
        load(WithData, values, {DatasetConfig: DATASETS})


def test_no_terminal_no_bar(
    config_of: Config, photos: Path, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(files_in(photos), options(config_of, folder), log=quiet)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    cached(files_in(photos), options(config_of, folder, cache_short_side=8), log=quiet)
    assert "24.0/24.0" in capfd.readouterr().err


@pytest.mark.parametrize("cache", ["disk", "ram"])
def test_splits_are_cached_and_otherwise_the_same(
    config_of: Config, photos: Path, folder: Path, write_image: Writer, cache: str
) -> None:
    for number in range(9):
        write_image(photos.parent / "test" / ("ant", "bee", "cat")[number % 3] / f"{number}.png", 100 + number)
    paths = {"root": photos, "test_root": photos.parent / "test"}
    direct, kept, smaller = (
        build_splits(options(config_of, folder, which, cache_short_side=side, **paths), timeout_seconds=60, log=quiet)
        for which, side in ((None, 8), (cache, 8), (cache, 7))
    )
    assert len({direct.fingerprint, kept.fingerprint, smaller.fingerprint}) == 3
    assert isinstance(kept.pretrain.images, CachedImages)
    assert kept.pretrain.images is kept.train.images is kept.selection.images
    assert kept.test is not None
    assert direct.test is not None
    assert isinstance(kept.test.images, CachedImages)
    for mine, theirs in ((kept.train, direct.train), (kept.selection, direct.selection), (kept.test, direct.test)):
        assert np.array_equal(mine.indices, theirs.indices)
        assert mine.labels is not None
        assert theirs.labels is not None
        assert np.array_equal(mine.labels, theirs.labels)
        with_cache, without = (
            torch.cat(
                list(
                    evaluation_batches(
                        part,
                        resize=8,
                        image_size=8,
                        batch_size=5,
                        num_workers=1,
                        timeout_seconds=60,
                        bad_images=direct.bad_images,
                        device=torch.device("cpu"),
                        mean=torch.zeros(3),
                        std=torch.ones(3),
                    )
                )
            )
            for part in (mine, theirs)
        )
        assert torch.equal(with_cache, without)
    if cache == "disk":
        assert len(listing(folder)) == 4
