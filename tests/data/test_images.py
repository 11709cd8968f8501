import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_cli.data.decode import EXTENSIONS
from byol_cli.data.evenly_spaced import evenly_spaced
from byol_cli.data.images import ArrayImages, FileImages
from byol_cli.data.path_table import scan
from byol_cli.schema.errors import InputError


def array_images(seed: int = 0, num: int = 6) -> ArrayImages:
    pixels = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (num, 3, 4, 5), dtype=np.uint8))
    return ArrayImages(images=pixels, labels=np.arange(num), class_names=tuple("abcdef"[:num]), title="toy")


def file_images(root: Path) -> FileImages:
    return FileImages(paths=scan([root], EXTENSIONS), channels=3, labels=None, class_names=(), skips_bad=False)


def test_an_array_offers_its_images_by_name_and_place() -> None:
    images = array_images()
    assert (len(images), images.channels, images.name(2)) == (6, 3, "toy/2")
    assert torch.equal(images.image(2), images.images[2])


def test_files_offer_their_images_by_name_and_place(photos: Path) -> None:
    images = file_images(photos)
    assert (len(images), images.channels, images.name(1)) == (24, 3, "ant/03.jpg")
    assert images.image(0).shape == (3, 10, 20)
    assert images.with_channels(1).image(0).shape == (1, 10, 20)


def test_conversion_and_forgetting_labels_leave_the_rest_alone() -> None:
    images = array_images()
    assert images.with_channels(1).images.shape == (6, 1, 4, 5)
    assert images.with_channels(1).labels is images.labels
    forgotten = images.without_labels()
    assert (forgotten.labels, forgotten.class_names, forgotten.images is images.images) == (None, (), True)


def test_a_fingerprint_tells_pixels_and_shapes_apart() -> None:
    images = array_images()
    assert images.fingerprint == array_images().fingerprint
    changed = images.images.clone()
    changed[5, 2, 3, 4] ^= 1
    others = [
        ArrayImages(images=pixels, labels=None, class_names=()) for pixels in (changed, images.images.view(6, 3, 5, 4))
    ]
    assert len({images.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_a_fingerprint_of_files_survives_a_move_and_nothing_else(
    photos: Path, tmp_path: Path, write_image: Callable[..., Path]
) -> None:
    first = file_images(photos).fingerprint
    moved = photos.rename(tmp_path / "moved")
    assert file_images(moved).fingerprint == first
    assert file_images(moved).with_channels(1).fingerprint != first
    os.rename(moved / "bee/01.png", moved / "bee/01b.png")
    assert file_images(moved).fingerprint != first
    os.rename(moved / "bee/01b.png", moved / "bee/01.png")
    assert file_images(moved).fingerprint == first
    write_image(moved / "bee/01.png", size=(50, 50))
    assert file_images(moved).fingerprint != first


def test_a_file_that_has_gone_is_named(photos: Path) -> None:
    images = file_images(photos)
    (photos / "cat/02.png").unlink()
    with pytest.raises(InputError, match=r"cat/02\.png: No such file"):
        _ = images.fingerprint
    with pytest.raises(InputError, match=r"cat/02\.png: .*No such file"):
        images.image([images.name(index) for index in range(24)].index("cat/02.png"))


def test_file_images_can_be_sent_to_a_worker(photos: Path) -> None:
    images = file_images(photos)
    assert torch.equal(pickle.loads(pickle.dumps(images)).image(7), images.image(7))


@pytest.mark.parametrize(("count", "at_most"), [(0, 4), (3, 4), (4, 4), (5, 4), (1000, 7)])
def test_evenly_spaced_numbers_spread_over_all(count: int, at_most: int) -> None:
    numbers = evenly_spaced(count, at_most=at_most)
    assert len(numbers) == min(count, at_most)
    assert len(set(numbers.tolist())) == len(numbers)
    if count:
        gaps = np.diff([*numbers, count])
        assert numbers[0] == 0
        assert gaps.max() - gaps.min() <= 1
