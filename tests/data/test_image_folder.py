"""Finding images and labels: byol_cli.data.image_folder and byol_cli.data.labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from byol_cli.data.build import build_splits
from byol_cli.data.image_folder import read_image_folder
from byol_cli.data.sources import Sources, Subset
from byol_cli.schema.errors import InputError

Config = Callable[..., Any]
Writer = Callable[..., Path]


def read(config_of: Config, **changes: object) -> Sources:
    return read_image_folder(config_of("image_folder", **changes))


def labels_by_name(subset: Subset) -> dict[str, str | None]:
    assert subset.labels is not None
    names = subset.images.class_names
    return {
        subset.name(place): None if label < 0 else names[label] for place, label in enumerate(subset.labels.tolist())
    }


def test_class_folders_one_level_deep_are_taken(config_of: Config, photos: Path) -> None:
    sources = read(config_of, root=photos)
    assert sources.pretrain is sources.labelled
    assert sources.test is None
    assert sources.pretrain.images.class_names == ("ant", "bee", "cat")
    assert all(name.startswith(str(label)) for name, label in labels_by_name(sources.pretrain).items())
    assert sources.origin == "3 classes (ant, bee, cat) from the folders"


@pytest.mark.parametrize(
    ("extra", "why"),
    [("loose.png", "not all images lie one folder deep"), ("ant/deep/er.png", "not all images lie one folder deep")],
)
def test_auto_takes_no_labels_from_other_folders(
    config_of: Config, photos: Path, write_image: Writer, extra: str, why: str
) -> None:
    write_image(photos / extra)
    sources = read(config_of, root=photos)
    assert not sources.pretrain.has_labels
    assert why in sources.origin


def test_auto_takes_no_labels_from_a_single_folder(config_of: Config, photos: Path, tmp_path: Path) -> None:
    (photos / "bee").rename(tmp_path / "bee")
    (photos / "cat").rename(tmp_path / "cat")
    sources = read(config_of, root=photos)
    assert not sources.pretrain.has_labels
    assert "all images lie in one folder" in sources.origin


def test_folders_takes_the_first_folder_however_deep_the_image(
    config_of: Config, photos: Path, write_image: Writer
) -> None:
    write_image(photos / "ant/2019/may/x.png")
    found = labels_by_name(read(config_of, root=photos, labels="folders").pretrain)
    assert found["ant/2019/may/x.png"] == "ant"
    assert found["cat/02.png"] == "cat"


def test_folders_refuses_an_image_outside_and_a_single_class(
    config_of: Config, tmp_path: Path, write_image: Writer
) -> None:
    write_image(tmp_path / "one/ant/a.png")
    with pytest.raises(InputError, match="two classes or more are needed, there is ant"):
        read(config_of, root=tmp_path / "one", labels="folders")
    write_image(tmp_path / "one/loose.png")
    with pytest.raises(InputError, match=r"loose\.png lies in no class folder"):
        read(config_of, root=tmp_path / "one", labels="folders")


def test_none_leaves_labels_out(config_of: Config, photos: Path) -> None:
    assert not read(config_of, root=photos, labels="none").pretrain.has_labels


def test_the_same_folder_name_below_two_roots_is_the_same_class(
    config_of: Config, tmp_path: Path, write_image: Writer
) -> None:
    for number, name in enumerate(("x/ant", "x/bee", "y/bee", "y/cat")):
        write_image(tmp_path / name / "a.png", number)
    images = read(config_of, root=[str(tmp_path / "x"), str(tmp_path / "y")]).pretrain
    assert images.images.class_names == ("ant", "bee", "cat")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1, 1, 2]


def test_a_test_root_shares_the_training_classes(config_of: Config, photos: Path, write_image: Writer) -> None:
    test_root = photos.parent / "held"
    write_image(test_root / "cat/a.png")
    write_image(test_root / "ant/b.png")
    sources = read(config_of, root=photos, test_root=test_root, test_fraction=0.5)
    assert len(sources.pretrain) == 24
    assert sources.test is not None
    assert labels_by_name(sources.test) == {"ant/b.png": "ant", "cat/a.png": "cat"}
    assert sources.test.images.class_names == ("ant", "bee", "cat")


def test_classes_that_test_images_alone_have_come_last(config_of: Config, photos: Path, write_image: Writer) -> None:
    test_root = photos.parent / "held"
    for name in ("cat/a.png", "asp/a.png"):
        write_image(test_root / name)
    sources = read(config_of, root=photos, test_root=test_root)
    assert sources.pretrain.images.class_names == ("ant", "bee", "cat", "asp")
    assert labels_by_name(sources.test) == {"cat/a.png": "cat", "asp/a.png": "asp"}  # type: ignore[arg-type]
    alone = read(config_of, root=photos).pretrain
    assert np.array_equal(alone.labels, sources.pretrain.labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("with_csv", [False, True])
def test_test_images_may_be_the_only_ones_with_labels(
    config_of: Config, photos: Path, tmp_path: Path, write_image: Writer, with_csv: bool
) -> None:
    for name in ("2023/a.png", "2023/05/b.png", "2024/c.png", "2024/d.png"):
        write_image(tmp_path / "nested" / name)
    (tmp_path / "labels.csv").write_text("path,label\nant/00.png,ant\nbee/01.png,bee\n")
    more = {"labels_csv": tmp_path / "labels.csv"} if with_csv else {}
    config = config_of("image_folder", root=tmp_path / "nested", test_root=photos, **more)
    splits = build_splits(config, timeout_seconds=60, log=lambda line: None)
    assert not splits.train.has_labels
    assert splits.train.images.class_names == ()
    assert splits.class_names[:2] == ("ant", "bee")
    assert splits.test is not None
    assert len(splits.test) == (2 if with_csv else 24)
    assert not any(image < 0 for image in splits.test.labels)  # type: ignore[union-attr]


def test_a_test_image_is_never_trained_on(config_of: Config, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset.test_root: .*ant/.* is a training image too"):
        read(config_of, root=photos, test_root=photos / "ant", labels="none")
    (tmp_path / "list.txt").write_text("photos/../photos/bee/01.png\n")
    with pytest.raises(InputError, match=r"bee/01\.png is a training image too"):
        read(config_of, file_list=tmp_path / "list.txt", test_root=photos, labels="none")
    (tmp_path / "link").symlink_to(photos)
    with pytest.raises(InputError, match="is a training image too"):
        read(config_of, root=tmp_path / "link", test_root=photos, labels="none")


def test_a_test_fraction_is_stratified_and_disjoint(config_of: Config, photos: Path) -> None:
    sources = read(config_of, root=photos, test_fraction=0.25)
    assert sources.test is not None
    assert sources.test.labels is not None
    assert np.bincount(sources.test.labels).tolist() == [2, 2, 2]
    assert sorted([*sources.pretrain.indices, *sources.test.indices]) == list(range(24))


def test_a_file_list_names_the_images(config_of: Config, photos: Path) -> None:
    (photos / "some.txt").write_text("bee/01.png\nant/00.png\n")
    images = read(config_of, file_list=photos / "some.txt").pretrain
    assert labels_by_name(images) == {"bee/01.png": "bee", "ant/00.png": "ant"}


def test_an_empty_file_list_is_refused(config_of: Config, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    with pytest.raises(InputError, match=r"dataset.file_list=.*list\.txt names no image"):
        read(config_of, file_list=tmp_path / "list.txt")


def test_a_csv_file_gives_labels_and_the_rest_has_none(config_of: Config, photos: Path, write_image: Writer) -> None:
    outside = write_image(photos.parent / "outside.png")
    csv = photos.parent / "labels.csv"
    csv.write_text(
        "id,label,path\n"
        f'1,"big, red",photos/ant/00.png\n2,blue,bee/01.png\n3,blue,{photos}/cat/02.png\n4,green,{outside}\n'
    )
    images = read(config_of, root=photos, labels_csv=csv).pretrain
    found = labels_by_name(images)
    assert {name: label for name, label in found.items() if label} == {
        "ant/00.png": "big, red",
        "bee/01.png": "blue",
        "cat/02.png": "blue",
    }
    assert len(images) == 24
    assert len(images.labelled()) == 3


def test_a_csv_file_labels_the_test_images_too(config_of: Config, photos: Path, write_image: Writer) -> None:
    test_root = photos.parent / "held"
    write_image(test_root / "a.png")
    write_image(test_root / "unlabelled.png")
    csv = photos / "labels.csv"
    csv.write_text("path,label\nant/00.png,x\nbee/01.png,y\na.png,y\n")
    sources = read(config_of, root=photos, test_root=test_root, labels_csv=csv)
    assert sources.test is not None
    assert labels_by_name(sources.test) == {"a.png": "y"}
    csv.write_text("path,label\nant/00.png,x\nbee/01.png,y\n")
    with pytest.raises(InputError, match=r"names none of the images of dataset.test_root"):
        read(config_of, root=photos, test_root=test_root, labels_csv=csv)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class\nant/00.png,x\n", "must name the columns path and label"),
        ("", "must name the columns path and label"),
        ("path,label\nant/00.png,x\nnope.png,y\n", "line 3: there is no file nope.png"),
        ("path,label\nant/00.png,\n", "line 2: a path and a label are needed"),
        ("path,label\nant/00.png\n", "line 2: a path and a label are needed"),
        ("path,label\nant/00.png,x\n./ant/00.png,y\n", "line 3: ./ant/00.png is y here and x in an earlier line"),
        ("path,label\nant/00.png,x\nbee/01.png,x\n", "two classes or more are needed, there is x"),
    ],
)
def test_a_bad_csv_file_is_refused_by_line(config_of: Config, photos: Path, text: str, message: str) -> None:
    (photos / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read(config_of, root=photos, labels_csv=photos / "labels.csv")


def test_a_csv_file_that_cannot_be_read_is_refused(config_of: Config, photos: Path) -> None:
    with pytest.raises(InputError, match=r"dataset.labels_csv=.*none\.csv: No such file"):
        read(config_of, root=photos, labels_csv=photos / "none.csv")
    (photos / "labels.csv").write_bytes(b"path,label\ncaf\xe9.png,x\n")
    with pytest.raises(InputError, match="is no CSV file in UTF-8"):
        read(config_of, root=photos, labels_csv=photos / "labels.csv")


def test_bad_roots_are_refused_in_one_line(config_of: Config, photos: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").touch()
    cases = {
        tmp_path / "missing": "missing: there is no such folder",
        photos / "ant/00.png": "00.png: this is no folder",
        empty: "empty: no images there; looked for .jpg .jpeg .png",
    }
    for root, message in cases.items():
        with pytest.raises(InputError, match=f"^dataset.root={root.parent}.*{message}"):
            read(config_of, root=root)
        with pytest.raises(InputError, match=f"^dataset.test_root={root.parent}.*{message}"):
            read(config_of, root=photos, test_root=root)
    with pytest.raises(InputError, match="no images there that no other root has"):
        read(config_of, root=[str(photos), str(photos / "ant")])
    with pytest.raises(InputError, match=r"dataset.root=\[\] names no folder"):
        read(config_of, root=[])


def test_gray_files_are_gray_and_mixed_ones_colour(config_of: Config, tmp_path: Path, write_image: Writer) -> None:
    for number in range(5):
        write_image(tmp_path / f"images/{number}.png", number, mode="L")
    assert read(config_of, root=tmp_path / "images").pretrain.images.channels == 1
    write_image(tmp_path / "images/3b.png", mode="RGB")
    assert read(config_of, root=tmp_path / "images").pretrain.images.channels == 3


def test_arrays_keep_their_channel_count(config_of: Config, tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.zeros((4, 4, 5), np.uint8))
    assert read(config_of, root=tmp_path).pretrain.images.channels == 5
