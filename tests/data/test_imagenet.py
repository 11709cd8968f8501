import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import imagenet as torchvision_imagenet

from byol_cli.data.build import build_splits
from byol_cli.data.imagenet import read_imagenet
from byol_cli.schema.errors import InputError

Config = Callable[..., Any]
Writer = Callable[..., Path]
WNIDS = ("n01440764", "n01443537")


def unpacked(root: Path, write_image: Writer) -> None:
    for folder, num in (("train", 6), ("val", 2)):
        for number in range(num):
            wnid = WNIDS[number % 2]
            write_image(root / folder / wnid / f"{wnid}_{number}.JPEG", number)


def test_unpacked_folders_are_read_as_they_are(config_of: Config, tmp_path: Path, write_image: Writer) -> None:
    unpacked(tmp_path, write_image)
    sources = read_imagenet(config_of("imagenet", root=tmp_path))
    assert sources.test is not None
    assert (len(sources.pretrain), len(sources.test)) == (6, 2)
    assert sources.pretrain.images.class_names == WNIDS
    assert sources.pretrain.labels is not None
    assert sources.pretrain.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert sources.pretrain.images.channels == 3
    splits = build_splits(config_of("imagenet", root=tmp_path, labels="none"), timeout_seconds=60, log=lambda _: None)
    assert not splits.train.has_labels


def test_validation_images_that_are_not_sorted_by_class_are_named(
    config_of: Config, tmp_path: Path, write_image: Writer
) -> None:
    unpacked(tmp_path, write_image)
    write_image(tmp_path / "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(InputError, match=r"ILSVRC2012_val_00000001\.JPEG lies in no class folder"):
        read_imagenet(config_of("imagenet", root=tmp_path))


def test_the_wanted_files_are_named(config_of: Config, tmp_path: Path, write_image: Writer) -> None:
    with pytest.raises(InputError, match=r"dataset.root=.*no folder train; .* or ILSVRC2012_img_train\.tar from"):
        read_imagenet(config_of("imagenet", root=tmp_path))
    unpacked(tmp_path, write_image)
    (tmp_path / "val").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"no folder val; .*img_val\.tar and ILSVRC2012_devkit_t12\.tar\.gz"):
        read_imagenet(config_of("imagenet", root=tmp_path))


def pack(archive: Path, folder: Path, mode: str = "w") -> None:
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        for path in sorted(folder.iterdir()):
            tar.add(path, arcname=path.name)


def write_archives(root: Path, source: Path, write_image: Writer) -> None:
    """The three archives as image-net.org has them: training images in a tar a class, validation images by number."""
    for wnid in WNIDS:
        for number in range(3):
            write_image(source / wnid / f"{wnid}_{number}.JPEG", number)
        (source / "train").mkdir(exist_ok=True)
        pack(source / "train" / f"{wnid}.tar", source / wnid)
    pack(root / "ILSVRC2012_img_train.tar", source / "train")
    for number in range(1, 5):
        write_image(source / f"val/ILSVRC2012_val_{number:08d}.JPEG", number)
    pack(root / "ILSVRC2012_img_val.tar", source / "val")
    synsets = np.array(
        [(index + 1, wnid, f"fish {index}", "a fish", 0) for index, wnid in enumerate(WNIDS)],
        dtype=[("id", int), ("wnid", object), ("words", object), ("gloss", object), ("num_children", int)],
    )
    buffer = BytesIO()
    scipy.io.savemat(buffer, {"synsets": synsets})
    files = {"meta.mat": buffer.getvalue(), "ILSVRC2012_validation_ground_truth.txt": b"2\n1\n2\n2\n"}
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            member.size = len(data)
            tar.addfile(member, BytesIO(data))


def test_archives_are_unpacked_once(
    config_of: Config, tmp_path: Path, write_image: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_archives(root, tmp_path / "source", write_image)
    monkeypatch.setattr(torchvision_imagenet, "_verify_archive", lambda root, file, md5: None)
    (root / "train.unfinished").mkdir()
    (root / "train.unfinished/rest_of_a_run_that_died").touch()
    sources = read_imagenet(config_of("imagenet", root=root))
    assert sources.test is not None
    assert sources.test.labels is not None
    assert len(sources.pretrain) == 6
    assert [sources.test.name(place)[-13:-5] for place in range(4)] == ["00000002", "00000001", "00000003", "00000004"]
    assert sources.test.labels.tolist() == [0, 1, 1, 1]
    for archive in root.glob("*.tar*"):
        archive.unlink()
    assert len(read_imagenet(config_of("imagenet", root=root)).pretrain) == 6


def test_a_damaged_archive_is_one_line_and_leaves_no_folder(config_of: Config, tmp_path: Path) -> None:
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"unpacking failed: The archive .* corrupted") as refused:
        read_imagenet(config_of("imagenet", root=tmp_path))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "train").exists()
