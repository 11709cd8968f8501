from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor

from byol_cli.schema.augmentation import FormulasName, View
from byol_cli.views.formulas import FORMULAS, apply_photometric_
from byol_cli.views.plan import ViewPlan, draw_plan

AMOUNTS = torch.linspace(0.0, 2.0, 24)
SHIFTS = torch.linspace(-0.5, 0.5, 24)

both_formulas = pytest.mark.parametrize("formulas", FORMULAS)


@pytest.fixture
def images(pictures: Tensor) -> Tensor:
    return pictures.float() / 255


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
    return draw_plan(view, seed=0, epoch=0, indices=np.arange(24), view_index=0, blur_kernel=5)


def test_schema_and_code_offer_the_same_formulas() -> None:
    assert set(get_args(FormulasName)) == set(FORMULAS)


def test_jitter_follows_each_samples_own_order(images: Tensor, still_plan: ViewPlan) -> None:
    orders = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]]).repeat(8, 1)
    places = torch.arange(24)
    plan = replace(
        still_plan,
        brightness=AMOUNTS + 0.3,
        contrast=AMOUNTS.flip(0).where(places % 4 > 0, 1),
        saturation=AMOUNTS.where(places < 20, 1),
        hue=SHIFTS.where(places % 5 > 0, 0),
        order=orders,
    )
    operators = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    expected = []
    for number, image in enumerate(images):
        amounts = [float(amount[number]) for amount in (plan.brightness, plan.contrast, plan.saturation, plan.hue)]
        for operation in orders[number].tolist():
            image = operators[operation](image, amounts[operation])
        expected.append(image)
    apply_photometric_(images, plan, FORMULAS["torchvision"])
    torch.testing.assert_close(images, torch.stack(expected), atol=2e-5, rtol=0)


@both_formulas
def test_a_plan_that_touches_nothing_changes_nothing(
    formulas: FormulasName, images: Tensor, still_plan: ViewPlan
) -> None:
    before = images.clone()
    apply_photometric_(images, still_plan, FORMULAS[formulas])
    assert torch.equal(images, before)


@both_formulas
@pytest.mark.parametrize(
    "touch",
    [
        lambda some: {"brightness": torch.where(some, 1.3, 1.0)},
        lambda some: {"contrast": torch.where(some, 0.5, 1.0)},
        lambda some: {"saturation": torch.where(some, 0.5, 1.0)},
        lambda some: {"hue": torch.where(some, 0.2, 0.0)},
        lambda some: {"grayscale": some},
        lambda some: {"sigma": torch.where(some, 1.0, 0.0)},
        lambda some: {"solarize": some},
        lambda some: {"noise_std": torch.where(some, 0.1, 0.0)},
    ],
    ids=["brightness", "contrast", "saturation", "hue", "grayscale", "blur", "solarize", "noise"],
)
def test_each_operation_changes_the_samples_it_touches_and_no_others(
    touch: Callable[[Tensor], dict[str, Any]], formulas: FormulasName, images: Tensor, still_plan: ViewPlan
) -> None:
    before = images.clone()
    touched = torch.arange(24) % 3 == 1
    apply_photometric_(images, replace(still_plan, **touch(touched)), FORMULAS[formulas])
    assert torch.equal(images[~touched], before[~touched])
    assert (images[touched] != before[touched]).flatten(1).any(dim=1).all()
