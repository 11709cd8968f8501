"""View distributions that several tests share."""

from dataclasses import replace

import pytest
import torch

from byol_cli.schema.augmentation import Blur, Crop, Flip, Grayscale, Jitter, Noise, Rotation, Shear, Solarize, View


@pytest.fixture
def paper_views() -> tuple[View, View]:
    """T and T' of the paper's table 6."""
    first = View(
        crop=Crop(probability=1.0, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), interpolation="bicubic"),
        rotation=Rotation(probability=0.0, degrees=(0.0, 0.0)),
        shear=Shear(probability=0.0, degrees=(0.0, 0.0)),
        flip=Flip(probability=0.5),
        jitter=Jitter(probability=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
        grayscale=Grayscale(probability=0.2),
        blur=Blur(probability=1.0, sigma=(0.1, 2.0), kernel=0.1),
        solarize=Solarize(probability=0.0, threshold=0.5),
        noise=Noise(probability=0.0, std=(0.0, 0.0)),
    )
    second = replace(
        first, blur=replace(first.blur, probability=0.1), solarize=replace(first.solarize, probability=0.2)
    )
    return first, second


@pytest.fixture
def eventful_view(paper_views: tuple[View, View]) -> View:
    """Every operation happens to about half the samples."""
    return View(
        crop=replace(paper_views[0].crop, probability=0.7, interpolation="bilinear"),
        rotation=Rotation(probability=0.5, degrees=(-30.0, 20.0)),
        shear=Shear(probability=0.5, degrees=(-15.0, 10.0)),
        flip=Flip(probability=0.5),
        jitter=replace(paper_views[0].jitter, probability=0.6),
        grayscale=Grayscale(probability=0.4),
        blur=Blur(probability=0.5, sigma=(0.1, 2.0), kernel=0.2),
        solarize=Solarize(probability=0.5, threshold=0.6),
        noise=Noise(probability=0.5, std=(0.02, 0.1)),
    )


@pytest.fixture
def pictures() -> torch.Tensor:
    """uint8 (24, 3, 40, 40): smooth colours with a little grain, black and white patches included."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(24, 3, 6, 6, generator=generator) * 1.4 - 0.2
    smooth = torch.nn.functional.interpolate(coarse, size=(40, 40), mode="bicubic")
    grain = 0.03 * torch.randn(24, 3, 40, 40, generator=generator)
    return ((smooth + grain).clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.fixture
def images(pictures: torch.Tensor) -> torch.Tensor:
    """The pictures in [0, 1], the last two of them gray and black."""
    images = pictures.float() / 255
    images[-2] = images[-2].mean(dim=0)
    images[-1] = 0
    return images
