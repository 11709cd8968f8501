"""Shards that others wrote, whole and damaged: byol_cli.data.shard_scan and shard_lookup."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from byol_cli.data.shard_scan import scan_shard
from byol_cli.data.shards import read_shards
from byol_cli.data.sources import Sources
from byol_cli.schema.errors import InputError

Config = Callable[..., Any]


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 9, 3), number, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]], *, form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(sources: Sources) -> list[tuple[str, int, str]]:
    """Name, grey level and class of every image."""
    images = sources.pretrain.images
    labels = np.full(len(images), -1) if images.labels is None else images.labels
    return [
        (images.name(i), int(images.image(i)[0, 0, 0]), "" if labels[i] < 0 else images.class_names[labels[i]])
        for i in range(len(images))
    ]


LONG = f"{'deep/' * 30}{'name' * 20}"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_sample_is_what_webdataset_takes_for_one(config_of: Config, form: int) -> None:
    long = [] if form == tarfile.USTAR_FORMAT else [(f"{LONG}.png", png(6)), ("naïve/ü.png", png(7))]
    write_tar(
        Path("s/a.tar"),
        [
            ("ant/", b""),
            ("ant/1.json", b'{"label": "x"}'),
            ("ant/1.cls", b"4\n"),
            ("ant/1.left.png", png(1)),
            ("ant/1.right.png", png(200)),
            ("ant/1.npy", b"no picture"),
            ("v1.2/2.PNG", png(2)),
            ("v1.2/2.cls", b"11"),
            ("ant/.hidden.png", png(201)),
            ("words/3.txt", b"no image here"),
            ("4.jpeg", png(4)),
            *long,
        ],
        form=form,
    )
    write_tar(Path("s/b.tar"), [("5.cls", b"4"), ("5.png", png(5))], form=form)
    expected = [("ant/1.left.png", 1, "4"), ("v1.2/2.PNG", 2, "11"), ("4.jpeg", 4, ""), ("5.png", 5, "4")]
    if long:
        expected[3:3] = [(f"{LONG}.png", 6, ""), ("naïve/ü.png", 7, "")]
    sources = read_shards(config_of("shards", root="s"))
    assert found(sources) == expected
    assert sources.pretrain.images.class_names == ("4", "11")


def test_an_array_is_taken_where_there_is_no_picture(config_of: Config) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.full((6, 6, 3), 9, dtype=np.uint8))
    write_tar(Path("s/a.tar"), [("1.npy", buffer.getvalue()), ("1.cls", b"0")])
    assert found(read_shards(config_of("shards", root="s"))) == [("1.npy", 9, "")]


@pytest.mark.parametrize(
    ("member", "classes"),
    [
        ("cls", ["1", "0", "1", "2"]),
        ("txt", ["dog", "cat", "dog", ""]),
        ("json:label", ["7", "8", "7", ""]),
        ("json:about.kind", ["wolf", "tiger", "wolf", ""]),
    ],
)
def test_labels_come_from_the_member_that_is_named(config_of: Config, member: str, classes: list[str]) -> None:
    facts = [{"label": 7, "about": {"kind": "wolf"}}, {"label": "8", "about": {"kind": "tiger"}}]
    samples = [
        (f"{n}.{extension}", data)
        for n, (cls, txt, fact) in enumerate([("1", "dog", 0), ("0", "cat", 1), ("1", "dog", 0)])
        for extension, data in [
            ("png", png(n)),
            ("cls", cls.encode()),
            ("txt", txt.encode()),
            ("json", json.dumps(facts[fact]).encode()),
        ]
    ]
    write_tar(Path("s/a.tar"), [*samples, ("9.png", png(9)), ("9.cls", b"2"), ("9.json", b'{"label": null}')])
    sources = read_shards(config_of("shards", root="s", label_member=member))
    assert [label for _, _, label in found(sources)] == classes


def test_numbers_are_lines_of_the_classes_file(config_of: Config) -> None:
    write_tar(Path("s/a.tar"), [("1.png", png(1)), ("1.cls", b"2"), ("2.png", png(2)), ("2.cls", b"0")])
    Path("s/classes.txt").write_text("ant\nbee\ncat\n")
    assert [label for _, _, label in found(read_shards(config_of("shards", root="s")))] == ["cat", "ant"]
    Path("s/classes.txt").write_text("ant\nbee\n")
    with pytest.raises(InputError, match=r"classes\.txt has 2 lines, and there are images of class 2, counted from 0"):
        read_shards(config_of("shards", root="s"))


def test_test_shards_may_number_their_classes_in_another_way(config_of: Config) -> None:
    samples = [(f"{n}.{ending}", data) for n in range(3) for ending, data in [("png", png(n)), ("cls", b"%d" % n)]]
    write_tar(Path("train/a.tar"), samples)
    Path("train/classes.txt").write_text("ant\nbee\ncat\n")
    write_tar(Path("test/a.tar"), [("7.png", png(7)), ("7.cls", b"0"), ("8.png", png(8))])
    Path("test/classes.txt").write_text("cat\n")
    sources = read_shards(config_of("shards", root="train", test_root="test"))
    assert sources.test is not None
    assert (sources.test.images.labels.tolist(), sources.test.indices.tolist()) == ([2, -1], [0])  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"^dataset\.test_root: train/a\.tar is a training shard too$"):
        read_shards(config_of("shards", root="train", test_root="train"))
    Path("test/classes.txt").write_text("dog\n")
    sources = read_shards(config_of("shards", root="train", test_root="test"))
    assert sources.test is not None
    assert sources.test.images.class_names == ("ant", "bee", "cat", "dog")  # a new one can be searched for
    assert sources.test.images.labels.tolist() == [3, -1]  # type: ignore[union-attr]


def test_without_members_the_folders_of_keys_are_classes_as_in_a_folder(config_of: Config) -> None:
    write_tar(Path("s/a.tar"), [("ant/1.png", png(1)), ("bee/1.png", png(2))])
    assert [label for *_, label in found(read_shards(config_of("shards", root="s")))] == ["ant", "bee"]
    write_tar(Path("t/a.tar"), [("1.png", png(1)), ("2.png", png(2))])
    assert read_shards(config_of("shards", root="t")).origin.startswith("no labels")


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", r"s/a\.tar is no whole tar file, or it is compressed: "),
    "no tar": (lambda data: b"x" * 2000, r"s/a\.tar is no whole tar file, or it is compressed: "),
    "cut within an image": (lambda data: data[: 3 * 512 + 10], r"s/a\.tar is cut off within 1\.png$"),
    "cut between images": (lambda data: data[: 2 * 1024], r"s/a\.tar is cut off or damaged after 2,048 bytes"),
    "cut within a header": (lambda data: data[: 2 * 1024 + 100], r"s/a\.tar is cut off or damaged after 2,048 bytes"),
    "damaged header": (
        lambda data: data[: 1024 + 100] + b"\xff" * 60 + data[1024 + 160 :],
        r"s/a\.tar is cut off or damaged after 1,024 bytes",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_shard_without_an_index_that_is_not_whole_is_named(config_of: Config, kind: str) -> None:
    path = write_tar(Path("s/a.tar"), [(f"{n}.png", png(n)) for n in range(5)], form=tarfile.GNU_FORMAT)
    assert len(png(0)) <= 512
    harm, words = BROKEN[kind]
    whole = path.read_bytes()
    path.write_bytes(harm(whole))
    with pytest.raises(InputError, match=f"^{words}"):
        read_shards(config_of("shards", root="s"))
    path.write_bytes(whole)
    assert read_shards(config_of("shards", root="s")).num_images == 5


def test_an_index_that_was_built_is_kept_and_tells_what_is_missing_later(config_of: Config, tmp_path: Path) -> None:
    for name in "abc":
        write_tar(Path(f"s/{name}.tar"), [(f"{name}{n}.png", png(n)) for n in range(3)])
    before = {path.name for path in Path("s").iterdir()}
    config = config_of("shards", root="s")
    assert read_shards(config).num_images == 9
    assert {path.name for path in Path("s").iterdir()} == before, "nothing is written beside somebody's shards"
    assert len(list(Path("kept").glob("*.index.npz"))) == 1
    Path("s/b.tar").rename("b.tar")
    with pytest.raises(InputError, match=r"^s/b\.tar is missing$"):
        read_shards(config)
    Path("b.tar").rename("s/b.tar")
    write_tar(Path("s/d.tar"), [("d.png", png(1))])
    with pytest.raises(InputError, match=r"^s/d\.tar is not in the index kept/\w+\.index\.npz; delete the index"):
        read_shards(config)


def test_with_no_room_nothing_is_written(config_of: Config, tmp_path: Path) -> None:
    write_tar(Path("s/a.tar"), [(f"{n}.png", png(n)) for n in range(3)])
    assert read_shards(config_of("shards", root="s", shards_max_gb=0)).num_images == 3
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_more_labels_than_classes_can_be_are_captions(config_of: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byol_cli.data.shard_index.MAX_LABELS", 2)
    write_tar(
        Path("s/a.tar"), [(f"{n}.{e}", data) for n in range(3) for e, data in [("png", png(n)), ("txt", b"%d" % n)]]
    )
    with pytest.raises(InputError, match=r"label_member=txt: 3 different labels, such as '0', are no classes"):
        read_shards(config_of("shards", root="s", label_member="txt"))


@pytest.mark.parametrize("member", ["json", "json:", "", "cls:x", "c l s"])
def test_a_label_member_that_cannot_be_is_refused(config_of: Config, member: str) -> None:
    with pytest.raises(InputError, match=f"label_member={member} must be an extension such as cls or txt, or json:KEY"):
        config_of("shards", root="s", label_member=member)


def test_webdataset_writes_what_is_read_here_and_reads_what_is_written_there(
    config_of: Config, photos: Path, make_shards: Callable[..., Path]
) -> None:
    webdataset = pytest.importorskip("webdataset")
    Path("theirs").mkdir()
    with webdataset.ShardWriter("theirs/w-%06d.tar", maxcount=4, verbose=0) as writer:
        for number in range(10):
            writer.write({"__key__": f"k/{number:04d}", "png": png(number), "cls": number % 3, "json": {"n": number}})
    sources = read_shards(config_of("shards", root="theirs"))
    assert found(sources) == [(f"k/{n:04d}.png", n, str(n % 3)) for n in range(10)]
    ours = make_shards(photos, Path("ours"), "--shard-size", "20kB")
    names = sorted(str(path) for path in ours.glob("*.tar"))
    samples = list(webdataset.WebDataset(names, shardshuffle=False, empty_check=False))
    images = read_shards(config_of("shards", root="ours")).pretrain.images
    assert [sample["__key__"] for sample in samples] == [images.name(i).rpartition(".")[0] for i in range(24)]
    assert [int(sample["cls"]) for sample in samples] == images.labels.tolist()  # type: ignore[union-attr]
    for number, sample in enumerate(samples):
        path = photos / images.name(number)
        assert sample[path.suffix[1:]] == path.read_bytes()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_damaged_headers_are_refused_in_words_or_read(form: int) -> None:
    """Checksums are put right again, so that the damage reaches those who read sizes, types and extended headers."""
    long = [] if form == tarfile.USTAR_FORMAT else [(f"{LONG}.png", png(6)), ("naïve/ü.png", png(7))]
    path = write_tar(Path("s/a.tar"), [("1.png", png(1)), ("1.json", b'{"a": {"b": 1}}'), *long], form=form)
    whole, random, refused = path.read_bytes(), np.random.default_rng(0), list[str]()
    headers = [start for start in range(0, len(whole), 512) if whole[start + 257 : start + 262] == b"ustar"]
    for _ in range(150):
        data = bytearray(whole)
        header = headers[int(random.integers(len(headers)))]
        data[header + int(random.integers(100, 170))] = int(random.choice([0, 48, 55, 57, 128, 255]))
        for start in headers:
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
        path.write_bytes(data)
        try:
            scan_shard(path, called="a.tar", label_member="json:a.b")
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 5
    assert all(words.startswith("a.tar") and "\n" not in words for words in refused)
