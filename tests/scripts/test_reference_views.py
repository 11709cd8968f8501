import numpy as np
import pytest
import torch
from benchmarks.product import configured
from reference_views import ReferenceViews
from torch import Tensor

from byol_cli.schema.augmentation import AugmentationConfig
from byol_cli.views.pipeline import TwoViews

INDICES = np.arange(300, 348)
SMALL_PAPER = ["augmentation=byol", "augmentation.image_size=32", "dataset=synthetic"]


def pair(augmentation: AugmentationConfig) -> tuple[TwoViews, ReferenceViews]:
    distributions = {"view1": augmentation.view1, "view2": augmentation.view2}
    both = {**distributions, "image_size": augmentation.image_size, "seed": 3}
    return TwoViews(**both, formulas=augmentation.formulas), ReferenceViews(**both)


def pictures(channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    coarse = torch.rand(len(INDICES), channels, 5, 6, generator=generator) * 1.4 - 0.2
    smooth = torch.nn.functional.interpolate(coarse, size=(36, 44), mode="bicubic")
    grain = 0.03 * torch.randn(smooth.shape, generator=generator)
    return ((smooth + grain).clamp(0, 1) * 255).round().to(torch.uint8)


def share_within_a_level(ours: Tensor, reference: Tensor, *, level: float) -> float:
    assert ours.shape == reference.shape
    return float(((ours.float() - reference.float()).abs() <= level * 1.001).float().mean())


@pytest.mark.parametrize(("words", "channels"), [(SMALL_PAPER, 3), ([], 1)], ids=["paper", "digits"])
@pytest.mark.parametrize("path", ["files", "memory"])
def test_the_reference_makes_the_views_of_the_product(words: list[str], channels: int, path: str) -> None:
    views, reference = pair(configured(words).augmentation)
    images = pictures(channels)

    def crops_by(maker: TwoViews | ReferenceViews) -> Tensor:
        if path == "files":
            return maker.crops_of(list(images), epoch=2, indices=INDICES)
        return maker.crops_of_batch(images, epoch=2, indices=INDICES)

    crops, reference_crops = crops_by(views), crops_by(reference)
    assert share_within_a_level(crops, reference_crops, level=1) > 0.999
    mean, std = torch.full((channels,), 0.4), torch.full((channels,), 0.25)
    ours = views.finish(crops, epoch=2, indices=INDICES, mean=mean, std=std)
    theirs = reference.finish(crops, epoch=2, indices=INDICES, mean=mean, std=std)
    for view, reference_view in zip(ours, theirs, strict=True):
        assert share_within_a_level(view * 0.25, reference_view * 0.25, level=1 / 255) > 0.999
        assert view.std() > 0.1


def test_another_epoch_looks_different() -> None:
    _, reference = pair(configured([]).augmentation)
    images = list(pictures(1))
    first, second = (reference.crops_of(images, epoch=epoch, indices=INDICES) for epoch in (0, 1))
    assert (first != second).flatten(2).any(dim=2).all()
