"""Shards over HTTP from a server that fails on purpose: byol_cli.data.remote and byol_cli.data.shard_store."""

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tortures.failing_server import FailingServer

from byol_cli.data import remote
from byol_cli.data.build import build_splits
from byol_cli.data.folder_lock import alone_in
from byol_cli.data.images import FileImages
from byol_cli.data.loader import training_batches
from byol_cli.data.shard_store import KeptShards, RemoteShards
from byol_cli.data.shards import read_shards
from byol_cli.data.sources import Splits
from byol_cli.schema.errors import InputError
from byol_cli.views.pipeline import TwoViews

pytest.importorskip("aiohttp")

Config = Callable[..., Any]
Serve = Callable[..., FailingServer]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.002)
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shards(photos: Path, make_shards: Callable[..., Path], tmp_path: Path) -> Path:
    return make_shards(photos, tmp_path / "shards", "--shard-size", "20kB")


@pytest.fixture
def serve(shards: Path) -> Iterator[Serve]:
    with ExitStack() as running:
        yield lambda *faults, folder=shards: running.enter_context(FailingServer(folder, faults))


def splits_of(config: Any) -> Splits:
    return build_splits(config, timeout_seconds=60, log=lambda _: None)


def batches(splits: Splits, views: TwoViews, *, num_workers: int) -> list[torch.Tensor]:
    made = training_batches(
        splits.pretrain,
        views,
        seed=3,
        batch_size=6,
        accumulation_steps=1,
        start_step=0,
        total_steps=4,
        num_workers=num_workers,
        timeout_seconds=60,
        bad_images=splits.bad_images,
        device=torch.device("cpu"),
        mean=torch.ones(3),
        std=torch.ones(3),
    )
    return [view for pair in made for view in pair]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def kept_bytes(folder: Path = Path("kept")) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.shard"))


def test_a_server_that_fails_gives_the_folders_batches(
    config_of: Config, photos: Path, serve: Serve, views: TwoViews
) -> None:
    server = serve("503", "hang", "short", "drop")
    ours, folder = splits_of(config_of("shards", root=server.url)), splits_of(config_of("image_folder", root=photos))
    assert same(batches(ours, views, num_workers=0), batches(folder, views, num_workers=0))
    assert all(server.given[fault] >= 4 for fault in ("503", "hang", "short", "drop"))
    assert not any(" bytes=" in request for request in server.asked), "whole shards are fetched, and read here"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_has_no_room_is_read_image_by_image(
    config_of: Config,
    photos: Path,
    shards: Path,
    serve: Serve,
    views: TwoViews,
    num_workers: int,
) -> None:
    room = sum(path.stat().st_size for path in sorted(shards.glob("*.tar"))[:2])
    server = serve("503", "drop", "short")
    ours = splits_of(config_of("shards", root=server.url, shards_max_gb=room / 1e9))
    folder = splits_of(config_of("image_folder", root=photos))
    assert same(batches(ours, views, num_workers=num_workers), batches(folder, views, num_workers=0))
    assert kept_bytes() == room
    assert server.parts_asked("shard-000000.tar") == server.parts_asked("shard-000001.tar") == 0
    assert server.parts_asked("shard-000002.tar") > 0


def test_with_no_room_nothing_is_written(config_of: Config, serve: Serve, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    images = read_shards(config_of("shards", root=serve().url, shards_max_gb=0)).pretrain.images
    assert images.image(23).numel()
    assert set(tmp_path.rglob("*")) == before


def test_shards_without_an_index_are_fetched_and_read_once(
    config_of: Config, photos: Path, shards: Path, serve: Serve, views: TwoViews
) -> None:
    (shards / "index.npz").unlink()
    last = max(path.stem[-6:] for path in shards.glob("*.tar"))
    server = serve("503", "drop")
    root = f"{server.url}/shard-{{000000..{last}}}.tar"
    ours, folder = splits_of(config_of("shards", root=root)), splits_of(config_of("image_folder", root=photos))
    assert same(batches(ours, views, num_workers=0), batches(folder, views, num_workers=0))
    asked = server.asked.copy()
    read_shards(config_of("shards", root=root))
    assert not [request for request in server.asked if server.asked[request] > asked[request] and ".tar" in request]
    with pytest.raises(InputError, match=r"no tar files there, and no index\.npz that names them; a pattern such as"):
        read_shards(config_of("shards", root=server.url, shards_dir="elsewhere"))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("503", r"/index\.npz cannot be read after 6 tries: 503, message='Service Unavailable'"),
        ("hang", r"/index\.npz cannot be read after 6 tries: .*[Tt]imeout"),
        ("drop", r"/index\.npz cannot be read after 6 tries: Response payload is not completed"),
    ],
)
def test_a_server_that_never_recovers_is_named(config_of: Config, serve: Serve, fault: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        read_shards(config_of("shards", root=serve(*[fault] * 6).url))
    assert "\n" not in str(refused.value)


def test_missing_cut_off_and_replaced_shards_are_named(config_of: Config, shards: Path, serve: Serve) -> None:
    shard = shards / "shard-000001.tar"
    whole = shard.read_bytes()
    server = serve()

    def refused() -> str:
        with pytest.raises(InputError) as error:
            read_shards(config_of("shards", root=server.url))
        assert not list(Path("kept").glob("*.unfinished"))
        return str(error.value)

    shard.unlink()
    assert refused() == f"{server.url}/shard-000001.tar: there is no such file"
    shard.write_bytes(whole[:-1000])
    assert f"shard-000001.tar cannot be read after 6 tries: {len(whole) - 1000:,} bytes came, by its index" in refused()
    shard.write_bytes(whole[:-9000] + b"\1" + whole[-8999:])
    assert "shard-000001.tar cannot be read after 6 tries: its content is not what its index describes" in refused()
    shard.write_bytes(whole)
    assert read_shards(config_of("shards", root=server.url)).num_images == 24
    kept = next(path for path in Path("kept").glob("*.shard") if path.read_bytes() == whole)
    kept.write_bytes(whole[:600] + b"changed" + whole[607:])
    assert refused() == (
        f"{kept}, which was fetched from {server.url}/shard-000001.tar, is damaged; delete it to have it fetched again"
    )


def test_garbage_is_fetched_again(
    config_of: Config, shards: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("garbage")
    images = read_shards(config_of("shards", root=server.url)).pretrain.images
    assert server.given["garbage"] >= len(list(shards.glob("*.tar")))
    assert all(images.image(index).numel() for index in range(24))
    monkeypatch.setattr(RemoteShards, "_check", lambda *_: None)
    with pytest.raises(InputError, match=r"fetched from \S+/shard-000000\.tar, is damaged; delete it"):
        read_shards(config_of("shards", root=serve("garbage").url, shards_dir="unchecked"))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    room = KeptShards(folder=tmp_path, max_bytes=100)
    for number, age in enumerate([30, 10, 40, 20]):
        path = tmp_path / f"{number}.shard"
        path.write_bytes(bytes(25))
        os.utime(path, (time.time() - age, time.time() - age))
    room.claimed["2.shard"] = 25
    room.make_room(0)
    assert len(list(tmp_path.glob("*.shard"))) == 4
    room.make_room(30)
    assert sorted(path.name for path in tmp_path.glob("*.shard")) == ["1.shard", "2.shard"]


def test_a_full_folder_makes_room_for_another_data_set_and_comes_back(
    config_of: Config,
    shards: Path,
    serve: Serve,
    make_shards: Callable[..., Path],
    write_image: Any,
) -> None:
    for number in range(24):
        write_image(Path("others") / f"{number:02d}.bmp", 100 + number, size=(14, 14))
    others = make_shards(Path("others"), Path("other_shards"), "--shard-size", "20kB")
    limit = 1.2 * max(sum(path.stat().st_size for path in folder.glob("*.tar")) for folder in (shards, others))
    one, other = serve(), serve(folder=others)
    first = read_shards(config_of("shards", root=one.url, shards_max_gb=limit / 1e9)).pretrain.images
    read_shards(config_of("shards", root=other.url, shards_max_gb=limit / 1e9))
    assert kept_bytes() <= limit
    assert any(not Path(first.paths.store._here(shard)).is_file() for shard in (0, 1))  # type: ignore[attr-defined]
    assert isinstance(first, FileImages)
    again = FileImages(
        paths=type(first.paths)(index=first.paths.index, store=first.paths.store),  # type: ignore[attr-defined, call-arg]
        channels=3,
        labels=None,
        class_names=(),
        skips_bad=False,
    )
    assert all(np.array_equal(again.image(index), first.image(index)) for index in range(24))
    assert kept_bytes() <= limit


def test_several_processes_share_a_folder(config_of: Config, serve: Serve) -> None:
    server = serve()
    results: list[int] = []
    said: list[str] = []

    def read() -> None:
        results.append(read_shards(config_of("shards", root=server.url)).num_images)

    with alone_in(Path("kept"), field="test", log=said.append):
        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        assert not results, "nobody fetches beside another"
    for thread in threads:
        thread.join()
    assert results == [24] * 3
    whole = [count for request, count in server.asked.items() if request.endswith(".tar ")]
    assert whole == [1] * len(whole) != [], "each shard came once"


def test_object_stores_are_read_through_fsspec(config_of: Config, shards: Path, photos: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in shards.iterdir():
        if path.is_file() and path.name != "index.npz":
            memory.pipe(f"/bucket/{path.name}", path.read_bytes())
    images = read_shards(config_of("shards", root="memory://bucket")).pretrain.images
    plain = read_shards(config_of("shards", root=shards)).pretrain.images
    assert [images.name(i) for i in range(24)] == [plain.name(i) for i in range(24)]
    assert all(torch.equal(images.image(i), plain.image(i)) for i in range(24))
    with pytest.raises(InputError, match=r"nothing://x: nothing:// is not known to fsspec|nothing://x/index\.npz: "):
        read_shards(config_of("shards", root="nothing://x"))


def test_bytes_of_a_part_are_those_of_the_file(shards: Path, serve: Serve) -> None:
    server, path = serve("short"), shards / "shard-000000.tar"
    whole = io.BytesIO(path.read_bytes())
    whole.seek(700)
    assert remote.read_range(f"{server.url}/{path.name}", 700, 900) == whole.read(900)
    assert remote.read_whole(f"{server.url}/nothing", check=len) is None
