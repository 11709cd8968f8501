from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from byol_cli.schema.augmentation import View
from byol_cli.views import photometric
from byol_cli.views.plan import ViewPlan, draw_plan

AMOUNTS = torch.linspace(0.0, 2.0, 24)
SHIFTS = torch.linspace(-0.5, 0.5, 24)
SIGMAS = torch.linspace(0.1, 3.0, 24)


def per_image(operator: Callable[..., Tensor], images: Tensor, *amounts: Tensor) -> Tensor:
    numbers = zip(*(amount.tolist() for amount in amounts), strict=True) if amounts else [()] * len(images)
    return torch.stack([operator(image, *number) for image, number in zip(images, numbers, strict=True)])


@pytest.fixture
def images(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1], the last two of them gray and black."""
    images = pictures.float() / 255
    images[-2] = images[-2].mean(dim=0)
    images[-1] = 0
    return images


@pytest.fixture
def still_plan(paper_views: tuple[View, View]) -> ViewPlan:
    """A plan that touches none of 24 samples."""
    view = paper_views[0]
    view = replace(
        view,
        jitter=replace(view.jitter, probability=0.0),
        grayscale=replace(view.grayscale, probability=0.0),
        blur=replace(view.blur, probability=0.0),
    )
    return draw_plan(view, seed=0, epoch=0, indices=np.arange(24), view_index=0, image_size=40)


@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (photometric.adjust_brightness, TF.adjust_brightness, [AMOUNTS]),
        (photometric.adjust_contrast, TF.adjust_contrast, [AMOUNTS]),
        (photometric.adjust_saturation, TF.adjust_saturation, [AMOUNTS]),
        (photometric.adjust_hue, TF.adjust_hue, [SHIFTS]),
        (photometric.grayscale, lambda image: TF.rgb_to_grayscale(image, 3), []),
        (lambda x: photometric.solarize(x, threshold=0.3), lambda image: TF.solarize(image, 0.3), []),
        (lambda x, s: photometric.blur(x, s, taps=7), lambda image, s: TF.gaussian_blur(image, [7, 7], [s]), [SIGMAS]),
        (
            lambda x, s: photometric.blur(x, s, taps=79),
            lambda image, s: TF.gaussian_blur(image, [79, 79], [s]),
            [SIGMAS],
        ),
    ],
    ids=["brightness", "contrast", "saturation", "hue", "grayscale", "solarize", "blur", "widest blur"],
)
def test_each_operation_is_torchvisions_image_by_image(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], amounts: list[Tensor], images: Tensor
) -> None:
    torch.testing.assert_close(ours(images, *amounts), per_image(theirs, images, *amounts), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (photometric.adjust_brightness, TF.adjust_brightness, AMOUNTS),
        (photometric.adjust_contrast, TF.adjust_contrast, AMOUNTS),
    ],
)
def test_one_channel_is_adjusted_as_torchvision_does(
    ours: Callable[..., Tensor], theirs: Callable[..., Tensor], amounts: Tensor, images: Tensor
) -> None:
    gray = images[:, :1]
    torch.testing.assert_close(ours(gray, amounts), per_image(theirs, gray, amounts), atol=1e-5, rtol=0)


def test_contrast_of_two_channels_is_about_the_mean_of_both(images: Tensor) -> None:
    pair = images[:, :2]
    mean = pair.double().mean(dim=(1, 2, 3), keepdim=True)
    expected = (mean + (pair - mean) * AMOUNTS[:, None, None, None]).clamp(0, 1).float()
    torch.testing.assert_close(photometric.adjust_contrast(pair, AMOUNTS), expected, atol=1e-6, rtol=0)


def test_normalisation_is_torchvisions(images: Tensor) -> None:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = TF.normalize(images, mean.tolist(), std.tolist())
    torch.testing.assert_close(photometric.normalize(images, mean, std), expected, atol=1e-5, rtol=0)


def test_jitter_follows_each_samples_own_order(images: Tensor, still_plan: ViewPlan) -> None:
    orders = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]]).repeat(8, 1)
    plan = replace(
        still_plan, brightness=AMOUNTS + 0.3, contrast=AMOUNTS.flip(0), saturation=AMOUNTS, hue=SHIFTS, order=orders
    )
    operators = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    expected = []
    for number, image in enumerate(images):
        amounts = [float(amount[number]) for amount in (plan.brightness, plan.contrast, plan.saturation, plan.hue)]
        for operation in orders[number].tolist():
            image = operators[operation](image, amounts[operation])
        expected.append(image)
    torch.testing.assert_close(photometric.apply_photometric(images, plan), torch.stack(expected), atol=2e-5, rtol=0)


def test_a_plan_that_touches_nothing_changes_nothing(images: Tensor, still_plan: ViewPlan) -> None:
    assert torch.equal(photometric.apply_photometric(images, still_plan), images)


@pytest.mark.parametrize(
    "touch",
    [
        lambda some: {"brightness": torch.where(some, 1.3, 1.0)},
        lambda some: {"contrast": torch.where(some, 0.5, 1.0)},
        lambda some: {"saturation": torch.where(some, 0.5, 1.0)},
        lambda some: {"hue": torch.where(some, 0.2, 0.0)},
        lambda some: {"grayscale": some},
        lambda some: {"sigma": torch.where(some, 1.0, 0.0), "blur_kernel": 5},
        lambda some: {"solarize": some},
        lambda some: {"noise_std": torch.where(some, 0.1, 0.0)},
    ],
    ids=["brightness", "contrast", "saturation", "hue", "grayscale", "blur", "solarize", "noise"],
)
def test_each_operation_changes_the_samples_it_touches_and_no_others(
    touch: Callable[[Tensor], dict[str, Any]], pictures: Tensor, still_plan: ViewPlan
) -> None:
    images = pictures.float() / 255
    before = images.clone()
    touched = torch.arange(24) % 3 == 1
    changed = photometric.apply_photometric(images, replace(still_plan, **touch(touched)))
    assert torch.equal(changed[~touched], before[~touched])
    assert (changed[touched] != before[touched]).flatten(1).any(dim=1).all()
    assert torch.equal(images, before)
