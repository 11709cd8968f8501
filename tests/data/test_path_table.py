import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from byol_cli.data.path_table import PathTable, from_file_list, scan
from byol_cli.schema.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def relatives(table: PathTable) -> list[str]:
    return [table.relative(index) for index in range(len(table))]


def test_files_come_in_a_fixed_order_hidden_and_foreign_ones_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/1.PNG", "a/deep/er/x.jpg", "z.png", "a/0.png")
    touch(tmp_path, ".hidden.png", ".git/x.png", "b/notes.txt", "b/.DS_Store")
    table = scan([tmp_path], (".png", ".jpg"))
    assert relatives(table) == ["z.png", "a/0.png", "a/deep/er/x.jpg", "b/1.PNG", "b/2.png"]
    assert [table[index] for index in range(5)] == [str(tmp_path / name) for name in relatives(table)]


def test_the_order_is_that_of_the_names_not_of_the_disk(tmp_path: Path) -> None:
    names = [f"{name}.png" for name in "hcagfbed"]
    touch(tmp_path, *names, *(f"{folder}/x.png" for folder in "qnpmo"))
    assert relatives(scan([tmp_path], (".png",))) == sorted(names) + [f"{folder}/x.png" for folder in "mnopq"]


def test_links_to_folders_are_followed_but_never_in_a_loop(tmp_path: Path) -> None:
    touch(tmp_path, "root/own.png", "elsewhere/linked.png")
    (tmp_path / "root/loop").symlink_to(tmp_path / "root")
    (tmp_path / "root/there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/there_again").symlink_to(tmp_path / "elsewhere")
    assert relatives(scan([tmp_path / "root"], (".png",))) == ["own.png", "there/linked.png"]


def test_a_root_inside_another_repeats_no_file(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/b/2.png")
    for roots in ([tmp_path / "a", tmp_path / "a/b"], [tmp_path / "a/b", tmp_path / "a"]):
        table = scan(roots, (".png",))
        assert sorted(os.path.basename(name) for name in relatives(table)) == ["1.png", "2.png"]


def test_with_several_roots_a_name_is_the_whole_path(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png")
    table = scan([tmp_path / "a", tmp_path / "b"], (".png",))
    assert [table.name(0), table.name(1)] == [str(tmp_path / "a/1.png"), str(tmp_path / "b/1.png")]
    assert scan([tmp_path / "a"], (".png",)).name(0) == "1.png"


def test_names_that_are_no_utf8_open_the_file(tmp_path: Path) -> None:
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    with open(odd, "wb") as file:
        file.write(b"here")
    (tmp_path / "東京 🗼.png").write_bytes(b"here")
    table = scan([tmp_path], (".png",))
    assert len(table) == 2
    assert all(Path(table[index]).read_bytes() == b"here" for index in range(2))


def test_twenty_thousand_paths_take_few_bytes_each_here_and_in_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n0144{folder:04d}/n0144{folder:04d}_{number:05d}.JPEG" for folder in range(20) for number in range(1000)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    monkeypatch.setattr(os.path, "isfile", lambda path: True)
    table = from_file_list(tmp_path / "list.txt", must_exist=True)
    assert relatives(table) == names
    assert table.nbytes / len(table) < len(names[0]) + 11  # 1.28 million such paths: 51 MB
    assert len(pickle.dumps(table)) < table.nbytes + 2000


def test_a_file_list_is_read_relative_to_its_own_folder(tmp_path: Path) -> None:
    touch(tmp_path, "lists/a.png", "lists/sub/b.png", "c.png", "lists/with space.png")
    (tmp_path / "lists/all.txt").write_text(
        f"# mine\na.png\n\n  sub/../sub/b.png  \r\n../c.png\nwith space.png\n{tmp_path}/c.png\n", encoding="utf-8"
    )
    table = from_file_list(tmp_path / "lists/all.txt", must_exist=True)
    assert relatives(table) == ["a.png", "sub/b.png", "../c.png", "with space.png", f"{tmp_path}/c.png"]
    assert all(os.path.isfile(table[index]) for index in range(len(table)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png\n# x\nb.png\n", "line 3: there is no file b.png"),
        ("a.png\n./a.png\n", "line 2: a.png is there twice"),
    ],
)
def test_a_bad_line_of_a_file_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        from_file_list(tmp_path / "list.txt", must_exist=True)


def test_a_missing_file_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset.file_list=.*none.txt: No such file"):
        from_file_list(tmp_path / "none.txt", must_exist=True)


def test_a_scanned_path_takes_few_bytes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"class_{number % 20:02d}/{number:06d}.png" for number in range(1000)))
    table = scan([tmp_path], (".png",))
    assert table.nbytes / len(table) < len("class_00/000000.png") + 11


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "locked/a.png")
    listing: Callable[..., object] = os.scandir

    def refuse(folder: str) -> object:
        if folder.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="locked: Permission denied"):
        scan([tmp_path], (".png",))


def test_folders_with_an_images_name_are_entered_dangling_links_listed_and_pipes_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "inside.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    table = scan([tmp_path], (".png",))
    assert [table.relative(index) for index in range(len(table))] == ["link.png", "x.jpg/inside.png"]


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_all_paths_together_are_those_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("byol_cli.data.path_table.AT_ONCE", at_once)
    touch(tmp_path, "a.png", "b/ü.png", "b/c/d.png", os.fsdecode(b"\xff.png"), "e/f.png", "e/g.png")
    table = scan([tmp_path], (".png",))
    assert list(table.relatives()) == relatives(table)
    assert list(scan([tmp_path], (".gif",)).relatives()) == []
