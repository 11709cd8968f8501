"""The sample of images: which ones, what they look like, and that it is the same each time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from byol_cli.data.bad_images import BadImages
from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Splits, Subset, whole
from byol_cli.report.gallery import THUMBNAIL, Gallery, make_gallery, mosaic, sheet

MEAN, STD = torch.tensor([0.4]), torch.tensor([0.3])
SHOWN: dict[str, Any] = {"mean": MEAN, "std": STD, "data": "digits", "step": 7}


def splits_of(number: int, *, test: int, size: int = 8, labels: np.ndarray | None = None) -> Splits:
    """`test` images for the test, 10 for selection, the rest to train on."""
    pixels = torch.randint(0, 256, (number, 1, size, size), dtype=torch.uint8, generator=torch.Generator())
    names = () if labels is None else ("a", "b")
    everything = whole(ArrayImages(images=pixels, labels=labels, class_names=names))
    places = np.arange(number)
    return Splits(
        pretrain=everything,
        train=everything.take(places[test + 10 :]),
        selection=everything.take(places[test : test + 10]),
        test=everything.take(places[:test]) if test else None,
        class_names=names,
        fingerprint="",
        channels=1,
        bad_images=BadImages(num_images=number, max_share=1.0, say=print),
    )


def pixels_of(subset: Subset) -> Tensor:
    assert isinstance(subset.images, ArrayImages)
    return subset.images.images[torch.from_numpy(subset.indices)]


def batches(subset: Subset) -> Iterator[Tensor]:
    yield from ((pixels_of(subset).float() / 255 - MEAN.view(-1, 1, 1)) / STD.view(-1, 1, 1)).split(7)


def features(subset: Subset) -> Tensor:
    return torch.from_numpy(subset.indices)[:, None].float().expand(-1, 4).clone()


def gallery_of(splits: Splits, *, num_images: int = 1000) -> Gallery:
    made = make_gallery(splits, batches=batches, features=features, num_images=num_images, **SHOWN)
    assert made is not None
    return made


def test_thumbnails_are_the_images_with_their_own_features_and_names() -> None:
    splits = splits_of(60, test=40)
    made = gallery_of(splits, num_images=25)
    assert made.origin == "25 of the 40 test images of digits"
    indices = made.features[:, 0].long()
    assert len(set(indices.tolist())) == 25
    assert int(indices.max()) < 40
    assert torch.equal(made.thumbnails, pixels_of(splits.pretrain)[indices])
    assert list(made.names) == [f"image/{index}" for index in indices.tolist()]


def test_the_same_images_each_time() -> None:
    splits = splits_of(400, test=300)
    first, again = gallery_of(splits, num_images=50), gallery_of(splits, num_images=50)
    assert torch.equal(first.features, again.features)


@pytest.mark.parametrize(("test", "origin"), [(40, "all 40 test images"), (0, "all 10 images of the selection split")])
def test_test_images_come_before_the_selection_split(test: int, origin: str) -> None:
    assert gallery_of(splits_of(60, test=test)).origin == f"{origin} of digits"


def test_labels_belong_to_their_images() -> None:
    labels = np.arange(60) % 3 - 1
    made = gallery_of(splits_of(60, test=40, labels=labels))
    assert made.labels is not None
    assert made.labels.tolist() == labels[made.features[:, 0].long().numpy()].tolist()
    assert set(made.labels.tolist()) == {0, 1}
    assert {made.class_of(image) for image in range(len(made))} == {"a", "b"}


def test_images_that_cannot_be_read_are_left_out() -> None:
    splits = splits_of(60, test=20)

    def broken(subset: Subset) -> Tensor:
        found = features(subset)
        found[found[:, 0] < 5] = torch.nan
        return found

    made = make_gallery(splits, batches=batches, features=broken, **SHOWN)
    assert made is not None
    assert sorted(made.features[:, 0].tolist()) == list(range(5, 20))
    assert torch.equal(made.thumbnails, pixels_of(splits.pretrain)[made.features[:, 0].long()])

    def gone(subset: Subset) -> Tensor:
        return torch.full((len(subset), 4), torch.nan)

    assert make_gallery(splits, batches=batches, features=gone, **SHOWN) is None


def test_large_images_become_small() -> None:
    assert gallery_of(splits_of(20, test=4, size=100)).thumbnails.shape == (4, 1, THUMBNAIL, THUMBNAIL)


def test_a_mosaic_has_each_picture_in_its_place() -> None:
    pictures = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    made = mosaic(pictures, columns=3)
    assert made.shape == (3, 8, 18)
    for place, picture in enumerate(pictures):
        top, left = place // 3 * 4, place % 3 * 6
        assert torch.equal(made[:, top : top + 4, left : left + 6], picture)
    assert not made[:, 4:, 12:].any()


def test_a_small_sheet_loses_nothing(sample: Gallery) -> None:
    packed, kind, columns = sheet(sample)
    assert (kind, columns) == ("png", 8)
    assert packed.startswith(b"\x89PNG")
