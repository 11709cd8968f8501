"""scripts/make_shards.py: the same shards every time, however often it is stopped, and what --verify finds."""

import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import make_shards
import numpy as np
import pytest
from PIL import Image
from sharding import write
from sharding.plan import member_names

from byol_cli.cli.command import guarded
from byol_cli.data.shard_index import load_index
from byol_cli.schema.errors import InputError

SIZE = ("--shard-size", "20kB")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 images in two folders, of 15 shards."""
    monkeypatch.chdir(tmp_path)
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 10 + number % 5, 3), dtype=np.uint8)
        path = Path("photos") / ("ant", "bee")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return Path("photos")


def make(*words: str, workers: int = 1) -> int:
    return guarded(make_shards.PROGRAM, lambda: make_shards.main([*words, "--workers", str(workers), *SIZE]))


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != ".lock"}


def members(folder: str) -> list[tuple[str, bytes]]:
    found = []
    for path in sorted(Path(folder).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                found.append((member.name, file.read()))
    return found


def test_every_file_is_there_with_its_class_in_the_folders_order(photos: Path) -> None:
    assert make("photos", "shards", workers=2) == 0
    expected = []
    for code, folder in enumerate(("ant", "bee")):
        for path in sorted((photos / folder).iterdir()):
            expected += [(f"{folder}/{path.name}", path.read_bytes()), (f"{folder}/{path.stem}.cls", b"%d" % code)]
    assert members("shards") == expected
    assert Path("shards/classes.txt").read_text() == "ant\nbee\n"
    sizes = [path.stat().st_size for path in Path("shards").glob("*.tar")]
    assert (len(sizes) > 10, max(sizes) <= 20_480) == (True, True)
    summed = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd="shards", capture_output=True, text=True)
    assert summed.returncode == 0, summed.stderr


def test_the_same_images_give_the_same_bytes(photos: Path) -> None:
    assert make("photos", "one") == 0
    for path in photos.rglob("*.png"):
        os.utime(path, (1, 1))
    assert make("photos", "two", workers=2) == 0
    one, two = contents("one"), contents("two")
    assert {name: data for name, data in one.items() if name != "index.npz"} == {
        name: data for name, data in two.items() if name != "index.npz"
    }
    with np.load("one/index.npz") as first, np.load("two/index.npz") as second:
        assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
def test_killed_at_any_moment_it_goes_on_and_ends_alike(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make("photos", "whole") == 0
    read = write.read_file
    monkeypatch.setattr(write, "read_file", lambda path: (time.sleep(0.003), read(path))[1])
    times: dict[str, int] = {}
    for enough in (1, 5):
        process = get_context("fork").Process(target=make, args=("photos", "cut"))
        process.start()
        while process.is_alive() and len(list(Path("cut").glob("*.tar"))) <= enough:
            time.sleep(0.001)
        process.kill()
        process.join()
        assert not Path("cut/index.npz").exists()
        finished = Path("cut/SHA256SUMS").read_text().split()[1::2]
        assert finished
        for name, stamp in times.items():
            assert Path("cut", name).stat().st_mtime_ns == stamp, "a finished shard was written again"
        times = {name: Path("cut", name).stat().st_mtime_ns for name in finished}
    Path("cut/shard-000000.tar").write_bytes(b"damaged since")
    (Path("cut") / "shard-000004.tar.unfinished").write_bytes(b"half")
    assert make("photos", "cut") == 0
    assert {n: d for n, d in contents("cut").items() if n.endswith((".tar", "SUMS", ".txt"))} == {
        n: d for n, d in contents("whole").items() if n.endswith((".tar", "SUMS", ".txt"))
    }
    assert not list(Path("cut").glob("*.unfinished"))
    kept = set(times) - {"shard-000000.tar"}
    assert all(Path("cut", name).stat().st_mtime_ns == times[name] for name in kept)


def test_run_again_it_writes_only_what_changed(photos: Path) -> None:
    assert make("photos", "shards") == 0
    before = {path.name: path.stat().st_mtime_ns for path in Path("shards").glob("*.tar")}
    Image.new("RGB", (11, 11)).save(photos / "bee" / "59.png")
    assert make("photos", "shards") == 0
    after = {path.name: path.stat().st_mtime_ns for path in Path("shards").glob("*.tar")}
    assert [name for name in sorted(before) if before[name] != after[name]] == [max(before)]
    assert make("photos", "shards", "--verify") == 0


def test_verify_compares_every_byte(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def complaint() -> str:
        assert make("photos", "shards", "--verify", workers=2) == 2
        return capsys.readouterr().err

    Path("shards").mkdir()
    assert "shards/index.npz: there is none, the shards are not finished" in complaint()
    assert make("photos", "shards") == 0
    assert make("photos", "shards", "--verify") == 0
    assert "60 images in" in capsys.readouterr().out
    shard = Path("shards/shard-000002.tar")
    whole = shard.read_bytes()
    for place in (550, len(whole) - 1, 100):  # in an image, after the end, in a header
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert "shards/shard-000002.tar" in complaint()
    shard.write_bytes(whole)
    image = photos / "ant" / "00.png"
    image.write_bytes(image.read_bytes()[:-1] + b"\0")
    assert "shards/shard-000000.tar: ant/00.png is not photos/ant/00.png, byte by byte" in complaint()
    image.unlink()
    assert "shard" in complaint()


def test_images_that_cannot_be_read_are_refused_or_listed(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "ant" / "02.png").write_bytes(b"no image")
    assert make("photos", "shards") == 2
    assert "ant/02.png: this is no image in a format" in (error := capsys.readouterr().err)
    assert "--on-bad-image=skip leaves it out" in error
    assert make("photos", "shards", "--on-bad-image", "skip") == 2
    assert "above dataset.max_bad_images=0.01" in capsys.readouterr().err
    for _ in range(2):
        assert make("photos", "shards", "--on-bad-image", "skip", "--max-bad-images", "0.1") == 0
        assert "59 images in" in capsys.readouterr().out
        (line,) = Path("shards/bad_images.txt").read_text().splitlines()
        assert line.startswith("photos/ant/02.png\tthis is no image")
    assert make("photos", "shards", "--verify", "--on-bad-image", "skip") == 0
    assert make("photos", "shards", "--verify") == 2
    assert "ant/02.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nowhere", "shards"], "dataset.root=nowhere: there is no such folder"),
        (["photos", "shards", "--shard-size", "big"], "--shard-size=big must be a size such as 256MB or 1GiB"),
        (["photos", "shards", "--workers", "0"], "--workers=0 must be at least 1"),
        (["photos", "shards", "--max-bad-images", "0"], "--max-bad-images=0 must be in (0, 1]"),
        (["photos", "shards", "--prefix", "a/b"], "--prefix=a/b must be letters, digits, - and _"),
        (["photos", "photos/ant/00.png"], "photos/ant/00.png: "),
        (["photos", "strange"], "strange holds other.tar, which these shards do not have; name an empty folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    photos: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("strange").mkdir()
    Path("strange/other.tar").touch()
    assert guarded(make_shards.PROGRAM, lambda: make_shards.main(words)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"make_shards.py: {complaint}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "size"), [("256MB", 256_000_000), ("1GiB", 2**30), ("1.5 kb", 1500), ("10240", 10240)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert make_shards.size_in_bytes(text) == size


def test_keys_hold_no_dot_and_are_all_different() -> None:
    names = ["a.jpg", "a.png", "b.c.jpg", "b_c.jpg", "2019.01/x.y.JPG", "2019.01/x_y.JPG"]
    assert member_names(names) == [
        *("a.jpg", "a_2.png", "b_c.jpg", "b_c_2.jpg", "2019.01/x_y.JPG", "2019.01/x_y_2.JPG"),
    ]


def test_a_file_too_large_for_a_shard_has_one_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng: Callable[..., np.ndarray] = np.random.default_rng(0).integers
    for number, side in enumerate((20, 200, 20, 20)):
        path = tmp_path / "photos" / f"{number}.bmp"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    words = [str(tmp_path / "photos"), str(tmp_path / "shards"), "--workers", "1", "--shard-size", "50kB"]
    assert make_shards.main(words) == 0
    with open(tmp_path / "shards" / "index.npz", "rb") as file:
        assert load_index(file, path="index.npz").starts.tolist() == [0, 1, 2, 4]
    assert not (tmp_path / "shards" / "classes.txt").exists()
    with pytest.raises(InputError):
        make_shards.main([*words, "--labels", "folders"])
