"""Parts are there whole or not at all, and only those of the same images, weights and settings count."""

from pathlib import Path

import pytest
import torch

from byol_cli.export.parts import Parts, refuse_foreign
from byol_cli.schema.errors import InputError, TrainingFault


def opened(folder: Path, key: str = "key", said: list[str] | None = None) -> Parts:
    return Parts(folder, key=key, dim=3, say=(said if said is not None else []).append)


def filled(folder: Path) -> torch.Tensor:
    features = torch.randn(10, 3)
    features[[2, 7]] = torch.nan
    parts = opened(folder)
    for block in features.split(4):
        parts.add(block)
    return features


def test_what_was_added_is_found_again_without_the_images_that_could_not_be_read(tmp_path: Path) -> None:
    features = filled(tmp_path)
    parts = opened(tmp_path)
    assert (parts.done, parts.rows) == (10, 8)
    places, values = zip(*parts.blocks(), strict=True)
    assert [place for part in places for place in part] == [0, 1, 3, 4, 5, 6, 8, 9]
    assert torch.equal(torch.cat(values), features[[0, 1, 3, 4, 5, 6, 8, 9]])
    assert [place for part in parts.places() for place in part] == [0, 1, 3, 4, 5, 6, 8, 9]


def test_parts_of_another_key_are_removed_and_told_of(tmp_path: Path) -> None:
    filled(tmp_path)
    said: list[str] = []
    assert opened(tmp_path, key="other", said=said).done == 0
    assert not list(tmp_path.iterdir())
    assert "3 parts are damaged, or of other images, weights or settings" in said[0]


@pytest.mark.parametrize("damage", ["cut off", "emptied", "removed"])
def test_a_damaged_part_and_those_after_it_are_made_anew(tmp_path: Path, damage: str) -> None:
    filled(tmp_path)
    second = sorted(tmp_path.iterdir())[1]
    if damage == "removed":
        second.unlink()
    else:
        second.write_bytes(second.read_bytes()[:-5] if damage == "cut off" else b"")
    assert opened(tmp_path).done == 4
    assert len(list(tmp_path.iterdir())) == 1


def test_a_part_of_unreadable_images_alone_counts_as_done(tmp_path: Path) -> None:
    opened(tmp_path).add(torch.full((4, 3), torch.nan))
    parts = opened(tmp_path)
    assert (parts.done, parts.rows, list(parts.blocks())) == (4, 0, [])


def test_a_part_that_cannot_be_written_is_a_fault_and_leaves_nothing(tmp_path: Path) -> None:
    parts = opened(tmp_path / "gone")
    with pytest.raises(TrainingFault, match="cannot be written: .*the same command goes on from there"):
        parts.add(torch.zeros(2, 3))
    assert parts.done == 0


def test_what_others_have_put_there_is_neither_read_nor_removed(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in ("notes.txt", "1.safetensors", "000000000004.safetensors.writing.txt")]
    for path in mine:
        path.write_text("precious")
    filled(tmp_path)
    opened(tmp_path).remove()
    assert sorted(tmp_path.iterdir()) == sorted(mine)
    with pytest.raises(InputError, match=r"output=x.npz is made in .*, which holds 0+4.safetensors.writing.txt and 1 "):
        refuse_foreign(tmp_path, known=("notes.txt",), output=Path("x.npz"))
