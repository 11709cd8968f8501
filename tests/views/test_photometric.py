from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from byol_cli.views import photometric

AMOUNTS = torch.linspace(0.0, 2.0, 24)
SHIFTS = torch.linspace(-0.5, 0.5, 24)
SIGMAS = torch.linspace(0.1, 3.0, 24)


def after(operation_: Callable[..., None], images: Tensor, *amounts: Any, **settings: Any) -> Tensor:
    """A copy of the images, changed."""
    images = images.clone()
    operation_(images, *amounts, **settings)
    return images


def per_image(operator: Callable[..., Tensor], images: Tensor, *amounts: Tensor) -> Tensor:
    numbers = zip(*(amount.tolist() for amount in amounts), strict=True) if amounts else [()] * len(images)
    return torch.stack([operator(image, *number) for image, number in zip(images, numbers, strict=True)])


@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (photometric.adjust_brightness_, TF.adjust_brightness, [AMOUNTS]),
        (photometric.adjust_contrast_, TF.adjust_contrast, [AMOUNTS]),
        (photometric.adjust_saturation_, TF.adjust_saturation, [AMOUNTS]),
        (photometric.adjust_hue_, TF.adjust_hue, [SHIFTS]),
        (photometric.grayscale_, lambda image: TF.rgb_to_grayscale(image, 3), []),
        (partial(photometric.solarize_, threshold=0.3), lambda image: TF.solarize(image, 0.3), []),
        (partial(photometric.blur_, taps=7), lambda image, s: TF.gaussian_blur(image, [7, 7], [s]), [SIGMAS]),
        (
            partial(photometric.blur_, taps=79),
            lambda image, s: TF.gaussian_blur(image, [79, 79], [s]),
            [SIGMAS],
        ),
    ],
    ids=["brightness", "contrast", "saturation", "hue", "grayscale", "solarize", "blur", "widest blur"],
)
def test_each_operation_is_torchvisions_image_by_image(
    ours: Callable[..., None], theirs: Callable[..., Tensor], amounts: list[Tensor], images: Tensor
) -> None:
    torch.testing.assert_close(after(ours, images, *amounts), per_image(theirs, images, *amounts), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (photometric.adjust_brightness_, TF.adjust_brightness, AMOUNTS),
        (photometric.adjust_contrast_, TF.adjust_contrast, AMOUNTS),
    ],
)
def test_one_channel_is_adjusted_as_torchvision_does(
    ours: Callable[..., None], theirs: Callable[..., Tensor], amounts: Tensor, images: Tensor
) -> None:
    gray = images[:, :1]
    torch.testing.assert_close(after(ours, gray, amounts), per_image(theirs, gray, amounts), atol=1e-5, rtol=0)


def test_contrast_of_two_channels_is_about_the_mean_of_both(images: Tensor) -> None:
    pair = images[:, :2]
    mean = pair.double().mean(dim=(1, 2, 3), keepdim=True)
    expected = (mean + (pair - mean) * AMOUNTS[:, None, None, None]).clamp(0, 1).float()
    torch.testing.assert_close(after(photometric.adjust_contrast_, pair, AMOUNTS), expected, atol=1e-6, rtol=0)


def test_normalisation_is_torchvisions(images: Tensor) -> None:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = TF.normalize(images, mean.tolist(), std.tolist())
    torch.testing.assert_close(photometric.normalize(images, mean, std), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("fraction", "image_size", "taps"),
    [(0.1, 224, 23), (0.1, 32, 3), (0.1, 8, 1), (0.1, 96, 11), (0.0, 224, 1), (1.0, 8, 9), (1.0, 9, 9)],
)
def test_blur_is_oddly_wide_and_can_be_mirrored(fraction: float, image_size: int, taps: int) -> None:
    assert photometric.blur_taps(fraction=fraction, image_size=image_size) == taps
    assert taps // 2 < image_size
