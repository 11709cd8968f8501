import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from byol_cli.data.bad_images import BadImage, BadImages, readable
from byol_cli.data.build import build_splits
from byol_cli.schema.errors import InputError

Writer = Callable[..., Path]


def registry(said: list[str], *, num_images: int = 100, max_share: float = 0.03) -> BadImages:
    return BadImages(num_images=num_images, max_share=max_share, say=said.append)


def test_each_file_counts_once_and_only_the_first_is_told() -> None:
    said: list[str] = []
    bad = registry(said)
    for path in ("a.png", "b.png", "a.png", "b.png"):
        bad.note(BadImage(path, "torn"))
    assert bad.count == 2
    assert said == [
        "warning: a.png: torn; dataset.on_bad_image=skip goes on without it, "
        "and stops above dataset.max_bad_images=0.03 of 100 images"
    ]


def test_it_stops_above_the_limit_and_not_at_it() -> None:
    bad = registry([])
    for number in range(3):
        bad.note(BadImage(f"{number}.png", "torn"))
    with pytest.raises(InputError) as refused:
        bad.note(BadImage("3.png", "no permission"))
    assert str(refused.value) == (
        "4 of 100 images cannot be read so far, which is above dataset.max_bad_images=0.03; the first is 0.png: torn"
    )
    with pytest.raises(InputError, match="4 of 100"):  # as often as one is met again
        bad.note(BadImage("0.png", "torn"))


def test_files_are_listed_as_they_are_found_also_those_from_before_there_was_a_folder(tmp_path: Path) -> None:
    bad, path = registry([]), tmp_path / "bad_images.txt"
    bad.note(BadImage("a.png", "torn"))
    bad.keep_in(path)
    assert path.read_text() == "a.png\ttorn\n"
    bad.note(BadImage("dir/with\ttab and\nbreak.png", "no\nwonder"))
    assert path.read_text() == "a.png\ttorn\ndir/with\\ttab and\\nbreak.png\tno\\nwonder\n"


def test_without_a_bad_image_there_is_no_list(tmp_path: Path) -> None:
    registry([]).keep_in(tmp_path / "bad_images.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_goes_on_counts_on_without_listing_a_file_twice(tmp_path: Path) -> None:
    first, path = registry([]), tmp_path / "bad_images.txt"
    first.keep_in(path)
    odd = "caf\udce9/b\tc.png"  # a name in Latin-1
    for name in ("a.png", odd):
        first.note(BadImage(name, "torn"))
    said: list[str] = []
    second = registry(said)
    second.note(BadImage(odd, "torn"))  # met while preparing
    second.keep_in(path)
    assert second.count == 2
    second.note(BadImage("a.png", "torn"))
    second.note(BadImage("c.png", "torn"))
    names = [line.split(b"\t")[0] for line in path.read_bytes().splitlines()]
    assert names == [b"a.png", b"caf\xe9/b\\tc.png", b"c.png"]
    assert len(said) == 1
    with pytest.raises(InputError, match=r"4 of 100 .* the first is a\.png: torn; .*bad_images\.txt lists them"):
        second.note(BadImage("d.png", "torn"))


def test_a_list_that_cannot_be_written_is_told_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    said: list[str] = []
    bad = registry(said)
    bad.keep_in(tmp_path / "bad_images.txt")
    monkeypatch.setattr(Path, "open", full)
    for name in ("a.png", "b.png", "c.png"):
        bad.note(BadImage(name, "torn"))
    assert bad.count == 3
    assert [line for line in said if "No space left" in line] == [
        f"warning: images that cannot be read are counted, but not listed in {tmp_path / 'bad_images.txt'}: "
        "No space left on device"
    ]


def test_a_list_that_cannot_be_read_is_told_and_nothing_that_was_met_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "bad_images.txt").mkdir()
    said: list[str] = []
    bad = registry(said)
    bad.note(BadImage("a.png", "torn"))
    bad.keep_in(tmp_path / "bad_images.txt")
    assert bad.count == 1
    assert "Is a directory" in said[-1]


def test_a_sample_goes_on_without_bad_images_only_where_they_are_skipped() -> None:
    def read(index: int) -> int:
        if index % 2:
            raise BadImage(f"{index}.png", "torn")
        return index

    assert list(readable(read, np.arange(5), skips_bad=True)) == [0, 2, 4]
    with pytest.raises(BadImage, match=r"1\.png: torn"):
        list(readable(read, np.arange(5), skips_bad=False))
    with pytest.raises(
        InputError, match=r"none of 2 images spread over the set can be read; the first is 1\.png: torn"
    ):
        list(readable(read, np.array([1, 3]), skips_bad=True))
    assert list(readable(read, np.arange(0), skips_bad=True)) == []


@pytest.mark.parametrize("damage", ["empty", "no image", "gone"])
def test_splits_are_made_without_the_bad_images_or_name_one(
    config_of: Callable[..., object], photos: Path, damage: str
) -> None:
    bad = photos / "ant" / "00.png"  # the first, which every sample has
    bad.unlink()
    if damage == "gone":
        bad.symlink_to(photos / "nowhere.png")
    else:
        bad.write_bytes(b"" if damage == "empty" else b"no image at all")
    with pytest.raises(InputError, match=r"ant/00\.png: "):
        build_splits(config_of("image_folder", root=photos), timeout_seconds=60, log=print)  # type: ignore[arg-type]
    splits = build_splits(
        config_of("image_folder", root=photos, on_bad_image="skip", max_bad_images=0.5),  # type: ignore[arg-type]
        timeout_seconds=60,
        log=print,
    )
    assert splits.pretrain.images.skips_bad
    assert splits.channels == 3
    assert (splits.bad_images.num_images, splits.bad_images.max_share) == (24, 0.5)


def test_where_nothing_can_be_read_nothing_is_made(config_of: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(6):
        (tmp_path / "photos" / f"{number}.jpg").touch()
    config = config_of("image_folder", root=tmp_path / "photos", on_bad_image="skip", max_bad_images=1.0)
    with pytest.raises(InputError, match=r"none of 6 images .* the first is .*0\.jpg: "):
        build_splits(config, timeout_seconds=60, log=print)  # type: ignore[arg-type]


def test_the_policy_does_not_change_what_data_it_is(config_of: Callable[..., object], photos: Path) -> None:
    prints = {
        build_splits(
            config_of("image_folder", root=photos, on_bad_image=policy),  # type: ignore[arg-type]
            timeout_seconds=60,
            log=print,
        ).fingerprint
        for policy in ("fail", "skip")
    }
    assert len(prints) == 1


def test_images_of_training_and_test_folders_count_together(
    config_of: Callable[..., object], photos: Path, write_image: Writer
) -> None:
    for number in range(3):
        write_image(photos.parent / "test" / ("ant", "bee", "cat")[number] / "a.png", 70 + number)
    config = config_of("image_folder", root=photos, test_root=photos.parent / "test")
    assert build_splits(config, timeout_seconds=60, log=print).bad_images.num_images == 27  # type: ignore[arg-type]


def test_a_listed_file_that_is_not_there_is_a_bad_image_where_such_are_skipped(
    config_of: Callable[..., object], photos: Path
) -> None:
    names = [str(path.relative_to(photos)) for path in sorted(photos.rglob("*.*"))]
    (photos / "list.txt").write_text("\n".join([*names, "none.png"]))
    with pytest.raises(InputError, match=r"line 25: there is no file none\.png"):
        build_splits(config_of("image_folder", file_list=photos / "list.txt"), timeout_seconds=60, log=print)  # type: ignore[arg-type]
    config = config_of("image_folder", file_list=photos / "list.txt", on_bad_image="skip")
    assert len(build_splits(config, timeout_seconds=60, log=print).pretrain.images) == 25  # type: ignore[arg-type]
