from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from byol_cli.data import pieces
from byol_cli.data.bad_images import BadImages
from byol_cli.data.decode import EXTENSIONS
from byol_cli.data.images import ArrayImages, FileImages
from byol_cli.data.path_table import scan
from byol_cli.data.sampler import MicroBatch
from byol_cli.data.sources import Subset, whole
from byol_cli.data.training_crops import Crops, training_crops
from byol_cli.schema.errors import InputError
from byol_cli.views.crop_flip import CropFlip
from byol_cli.views.pipeline import TwoViews

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
BATCHES = [MicroBatch(step, step // 2, np.array(rows)) for step, rows in enumerate([[4, 0, 9], [1, 2], [9, 5, 6, 7]])]


@pytest.fixture
def crop_flip(views: TwoViews) -> CropFlip:
    return CropFlip(view=views.views[0], image_size=8, seed=5, formulas="torchvision")


@pytest.fixture
def read(crop_flip: CropFlip) -> Any:
    return partial(
        training_crops,
        crop_flip=crop_flip,
        num_workers=0,
        timeout_seconds=60,
        bad_images=BadImages(num_images=24, max_share=0.5, say=print),
        device=torch.device("cpu"),
        mean=MEAN,
        std=STD,
    )


def expected(subset: Subset, crop_flip: CropFlip, batch: MicroBatch) -> torch.Tensor:
    """One image after the other."""
    images = []
    for index in subset.indices[batch.indices]:
        place: dict[str, Any] = {"epoch": batch.epoch, "indices": np.array([index])}
        crop = crop_flip.crops_of([subset.images.image(int(index))], **place)
        images.append(crop_flip.finish(crop, **place, mean=MEAN, std=STD))
    return torch.cat(images)


def files_in(root: Path, *, skips_bad: bool = False) -> Subset:
    images = FileImages(paths=scan([root], EXTENSIONS), channels=3, labels=None, class_names=(), skips_bad=skips_bad)
    return whole(images).take(np.arange(1, 23))


def test_images_in_memory_come_cropped_and_by_their_positions(read: Any, crop_flip: CropFlip) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 3, 10, 12), dtype=np.uint8))
    subset = whole(ArrayImages(images=pixels, labels=None, class_names=())).take(np.arange(3, 28))
    for batch, crops in zip(BATCHES, read(subset, BATCHES), strict=True):
        assert crops.positions.tolist() == batch.indices.tolist()
        torch.testing.assert_close(
            crops.images, expected(subset, crop_flip, batch), atol=0.02, rtol=0
        )  # one grey level


@pytest.mark.parametrize("num_workers", [0, 2])
def test_files_are_the_same_whatever_the_number_of_workers(
    read: Any, crop_flip: CropFlip, photos: Path, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "MAX_IMAGES_IN_A_PIECE", 3)
    subset = files_in(photos)
    made = list(read(subset, BATCHES, num_workers=num_workers))
    for batch, crops in zip(BATCHES, made, strict=True):
        assert crops.positions.tolist() == batch.indices.tolist()
        assert torch.equal(crops.images, expected(subset, crop_flip, batch))


def test_images_that_cannot_be_read_are_left_out_in_every_epoch(read: Any, crop_flip: CropFlip, photos: Path) -> None:
    whole_files = files_in(photos)
    broken = Path(whole_files.images.paths[int(whole_files.indices[9])])  # type: ignore[attr-defined]
    sound = [crops.images for crops in read(whole_files, BATCHES)]
    broken.write_bytes(b"no image")
    made: list[Crops] = list(read(files_in(photos, skips_bad=True), BATCHES))
    assert [crops.positions.tolist() for crops in made] == [[4, 0], [1, 2], [5, 6, 7]]
    assert torch.equal(made[0].images, sound[0][:2])
    assert torch.equal(made[2].images, sound[2][1:])
    with pytest.raises(InputError, match=broken.name):
        list(read(files_in(photos), BATCHES))


def test_closing_ends_the_workers(read: Any, photos: Path) -> None:
    crops = read(files_in(photos), BATCHES, num_workers=1)
    next(crops)
    assert active_children()
    crops.close()
    assert not active_children()
