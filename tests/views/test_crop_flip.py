"""One crop and flip: the same that the first of two views makes where all its other operations are left out."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from byol_cli.schema.augmentation import FormulasName, View
from byol_cli.views.crop_flip import CropFlip
from byol_cli.views.pipeline import TwoViews

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
INDICES = np.array([3, 11, 4, 100, 7, 8, 0, 1])


@pytest.fixture(params=["torchvision", "deepmind"])
def both(eventful_view: View, request: pytest.FixtureRequest) -> tuple[CropFlip, TwoViews]:
    formulas: FormulasName = request.param
    quiet = View(
        crop=eventful_view.crop,
        rotation=replace(eventful_view.rotation, probability=0.0),
        shear=replace(eventful_view.shear, probability=0.0),
        flip=eventful_view.flip,
        jitter=replace(eventful_view.jitter, probability=0.0),
        grayscale=replace(eventful_view.grayscale, probability=0.0),
        blur=replace(eventful_view.blur, probability=0.0),
        solarize=replace(eventful_view.solarize, probability=0.0),
        noise=replace(eventful_view.noise, probability=0.0),
    )
    return (
        CropFlip(view=eventful_view, image_size=16, seed=5, formulas=formulas),
        TwoViews(view1=quiet, view2=quiet, image_size=16, seed=5, formulas=formulas),
    )


def test_crops_and_flips_are_those_of_view_1(both: tuple[CropFlip, TwoViews], pictures: torch.Tensor) -> None:
    crop_flip, two_views = both
    for epoch in (0, 3):
        crops = crop_flip.crops_of_batch(pictures[:8], epoch=epoch, indices=INDICES)
        of_both = two_views.crops_of_batch(pictures[:8], epoch=epoch, indices=INDICES)
        assert torch.equal(crops, of_both[0])
        finished = crop_flip.finish(crops, epoch=epoch, indices=INDICES, mean=MEAN, std=STD)
        expected, _ = two_views.finish(of_both, epoch=epoch, indices=INDICES, mean=MEAN, std=STD)
        assert torch.equal(finished, expected)


def test_decoded_images_of_any_size_get_the_crops_of_view_1(
    both: tuple[CropFlip, TwoViews], pictures: torch.Tensor
) -> None:
    crop_flip, two_views = both
    images = [picture[:, : 20 + number, : 40 - number] for number, picture in enumerate(pictures[:8])]
    crops = crop_flip.crops_of(images, epoch=2, indices=INDICES)
    assert torch.equal(crops, two_views.crops_of(images, epoch=2, indices=INDICES)[0])


def test_half_of_the_images_are_flipped_and_crops_change_with_the_epoch(
    both: tuple[CropFlip, TwoViews], pictures: torch.Tensor
) -> None:
    crop_flip, _ = both
    image = pictures[:1].expand(400, -1, -1, -1)[:, :, :16, :16]
    plain = crop_flip.finish(image, epoch=0, indices=np.arange(400), mean=torch.zeros(3), std=torch.ones(3))
    unchanged = (plain - image / 255).flatten(1).abs().amax(dim=1) < 1e-6
    flipped = (plain - image.flip(-1) / 255).flatten(1).abs().amax(dim=1) < 1e-6
    assert (unchanged ^ flipped).all()
    assert 150 < flipped.sum() < 250
    first, second = (crop_flip.crops_of_batch(pictures[:8], epoch=e, indices=INDICES) for e in (0, 1))
    assert not torch.equal(first, second)


def test_it_goes_to_workers(both: tuple[CropFlip, TwoViews], pictures: torch.Tensor) -> None:
    crops = [
        one.crops_of_batch(pictures[:8], epoch=0, indices=INDICES)
        for one in (both[0], pickle.loads(pickle.dumps(both[0])))
    ]
    assert torch.equal(*crops)
