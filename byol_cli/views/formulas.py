"""By whose formulas a view is made: the two sets of operations, and what a plan does by them to a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from byol_cli.schema.augmentation import FormulasName
from byol_cli.views import deepmind, geometry, photometric
from byol_cli.views.noise import add_noise_
from byol_cli.views.plan import SizeRule, ViewPlan, first_fitting_sizes
from byol_cli.views.touched import Operation, change_, change_in_order_


@dataclass(frozen=True, kw_only=True)
class Formulas:
    """The operations that differ; flip, hue, grayscale and solarize are the same everywhere."""

    box_sizes: SizeRule
    crop_resize: Callable[..., Tensor]
    crop_resize_batch: Callable[..., Tensor]
    adjust_brightness_: Operation
    adjust_contrast_: Operation
    adjust_saturation_: Operation
    blur_taps: Callable[..., int]
    blur_: Operation


FORMULAS: dict[FormulasName, Formulas] = {
    "torchvision": Formulas(
        box_sizes=first_fitting_sizes,
        crop_resize=geometry.crop_resize,
        crop_resize_batch=geometry.crop_resize_batch,
        adjust_brightness_=photometric.adjust_brightness_,
        adjust_contrast_=photometric.adjust_contrast_,
        adjust_saturation_=photometric.adjust_saturation_,
        blur_taps=photometric.blur_taps,
        blur_=photometric.blur_,
    ),
    "deepmind": Formulas(
        box_sizes=deepmind.single_try_sizes,
        crop_resize=deepmind.crop_resize,
        crop_resize_batch=deepmind.crop_resize_batch,
        adjust_brightness_=deepmind.adjust_brightness_,
        adjust_contrast_=deepmind.adjust_contrast_,
        adjust_saturation_=deepmind.adjust_saturation_,
        blur_taps=deepmind.blur_taps,
        blur_=deepmind.blur_,
    ),
}


def apply_photometric_(images: Tensor, plan: ViewPlan, formulas: Formulas) -> None:
    """Jitter, grayscale, blur, solarize and noise, in this order, each on the samples that the plan names.

    Args:
        images: float32 (batch, channels, height, width) in [0, 1] on any device; changed in place.
        plan: of the same batch.
        formulas: what jitter and blur mean.
    """
    adjustments = (
        formulas.adjust_brightness_,
        formulas.adjust_contrast_,
        formulas.adjust_saturation_,
        photometric.adjust_hue_,
    )
    amounts = (plan.brightness, plan.contrast, plan.saturation, plan.hue)
    untouched = torch.stack(amounts, dim=1) == torch.tensor([1, 1, 1, 0])
    turns = plan.order.masked_fill(untouched.gather(1, plan.order), len(adjustments))
    change_in_order_(images, turns, adjustments, amounts)
    change_(images, plan.grayscale, photometric.grayscale_)
    change_(images, plan.sigma > 0, partial(formulas.blur_, taps=plan.blur_kernel), plan.sigma)
    change_(images, plan.solarize, partial(photometric.solarize_, threshold=plan.solarize_threshold))
    change_(images, plan.noise_std > 0, add_noise_, plan.noise_std, plan.noise_key)
