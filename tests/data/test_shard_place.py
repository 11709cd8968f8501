"""What dataset.root of shards may be: byol_cli.data.shard_place."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byol_cli.data.shard_place import expanded, shard_place
from byol_cli.data.shards import read_shards
from byol_cli.schema.errors import InputError

Config = Callable[..., Any]


@pytest.mark.parametrize("pattern", ["train-{000..012}.tar", "{a,b}-{8..11}.tar", "{3..1}x{08..10}.tar", "a.tar"])
def test_patterns_stand_for_what_the_shell_makes_of_them(pattern: str) -> None:
    shell = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True, check=True)
    assert list(expanded(pattern)) == shell.stdout.split()


def test_a_pattern_names_some_of_the_shards_in_its_own_order(
    config_of: Config, photos: Path, make_shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_shards(photos, Path("s"), "--shard-size", "20kB")
    images = read_shards(config_of("shards", root="s")).pretrain.images
    starts: list[int] = images.paths.index.starts.tolist()  # type: ignore[attr-defined]
    names = [images.name(index) for index in range(24)]
    some = read_shards(config_of("shards", root="s/shard-{000002..000001}.tar")).pretrain.images
    expected = [*names[starts[2] : starts[3]], *names[starts[1] : starts[2]]]
    assert [some.name(index) for index in range(len(some))] == expected
    one = read_shards(config_of("shards", root="s/shard-000001.tar")).pretrain.images
    assert [one.name(index) for index in range(len(one))] == names[starts[1] : starts[2]]
    with pytest.raises(InputError, match=r"^s/shard-000999\.tar: No such file"):
        read_shards(config_of("shards", root="s/shard-{000001,000999}.tar"))


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("nowhere", r"^dataset\.root=nowhere: No such file or directory$"),
        ("empty", r"^dataset\.root=empty: no tar files there, and no index\.npz that names them$"),
        ("s/{0..9999999}.tar", r"stands for more than 1,000,000 shards$"),
        ("s/{a,a}.tar", r"names a\.tar twice$"),
    ],
)
def test_a_place_that_cannot_be_is_refused(
    config_of: Config, root: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(InputError, match=words):
        read_shards(config_of("shards", root=root))


def test_a_place_is_taken_apart() -> None:
    url = shard_place("dataset.root", "s3://bucket/in/{a,b}/x.tar")
    assert (url.folder, url.names, url.is_remote) == ("s3://bucket/in", ("a/x.tar", "b/x.tar"), True)
    here = shard_place("dataset.root", "x-{0..1}.tar")
    assert (here.folder, here.names, here.is_remote) == (".", ("x-0.tar", "x-1.tar"), False)
