"""All random draws of a view, made on the CPU into small records before any pixel moves.

Each draw sits in a slot of its own, so that adding or leaving out an operation moves no other draw. The distributions
are those of the paper's section 3.3 and table 6.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import permutations
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from byol_cli.schema.augmentation import Crop, View
from byol_cli.views.counter import noise_keys, uniforms

NUM_CROP_TRIES = 10
ORDERS = np.array(list(permutations(range(4))))


class Slot(IntEnum):
    """Which draw of a sample decides what. Renumbering changes every run; the crop's tries take ten slots each."""

    ROTATION = 0
    ROTATION_DEGREES = 1
    SHEAR = 2
    SHEAR_DEGREES = 3
    FLIP = 4
    JITTER = 5
    BRIGHTNESS = 6
    CONTRAST = 7
    SATURATION = 8
    HUE = 9
    ORDER = 10
    GRAYSCALE = 11
    BLUR = 12
    SIGMA = 13
    SOLARIZE = 14
    NOISE = 15
    NOISE_STD = 16
    CROP = 17
    CROP_TOP = 18
    CROP_LEFT = 19
    CROP_AREA = 20
    CROP_RATIO = 30
    END = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewPlan:
    """What happens to each image of a batch in one view, after its crop; CPU tensors of shape (batch,).

    It stays on the CPU: each operation picks the samples that it touches there, so that a GPU is never waited for.

    Attributes:
        angle: float32 degrees, counter-clockwise; 0 for no rotation.
        shear: float32 degrees along x; 0 for none.
        flip: bool, left and right exchanged.
        brightness, contrast, saturation: float32 factors, 1 for none.
        hue: float32 part of the colour circle from -0.5 to 0.5, 0 for none.
        order: int64 (batch, 4), the order of these four, numbered as they stand here.
        grayscale: bool.
        sigma: float32 pixels of the Gaussian blur, 0 for none.
        solarize: bool.
        noise_std: float32, on values in [0, 1]; 0 for none.
        noise_key: int64, hashed with the pixel's number.
        blur_kernel: odd number of taps, at most the image's side plus 1; the same for all.
        solarize_threshold: in [0, 1].
    """

    angle: Tensor
    shear: Tensor
    flip: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    order: Tensor
    grayscale: Tensor
    sigma: Tensor
    solarize: Tensor
    noise_std: Tensor
    noise_key: Tensor
    blur_kernel: int
    solarize_threshold: float

    def select(self, samples: slice) -> "ViewPlan":
        """The plan of some of the batch's samples."""
        chosen: dict[str, Any] = {k: v[samples] for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **chosen)


def draw_plan(view: View, *, seed: int, epoch: int, indices: np.ndarray, view_index: int, blur_kernel: int) -> ViewPlan:
    """Draw what happens to a batch of samples in one view, the crop apart.

    Args:
        view: the distributions.
        seed: of the run.
        epoch: counted from 0.
        indices: int64 (batch,), the samples' places in the data set.
        view_index: 0 or 1.
        blur_kernel: width of the blur's kernel in pixels, odd.
    """
    draws = uniforms(seed=seed, epoch=epoch, indices=indices, view=view_index, num_slots=Slot.CROP).T

    def amount(happens: Slot, probability: float, slot: Slot, low: float, high: float, untouched: float) -> Tensor:
        drawn = np.where(draws[happens] < probability, low + (high - low) * draws[slot], untouched)
        return torch.from_numpy(drawn.astype(np.float32))

    def factor(slot: Slot, strength: float) -> Tensor:
        return amount(Slot.JITTER, view.jitter.probability, slot, max(0.0, 1 - strength), 1 + strength, 1.0)

    def happens(slot: Slot, probability: float) -> Tensor:
        return torch.from_numpy(draws[slot] < probability)

    return ViewPlan(
        angle=amount(Slot.ROTATION, view.rotation.probability, Slot.ROTATION_DEGREES, *view.rotation.degrees, 0.0),
        shear=amount(Slot.SHEAR, view.shear.probability, Slot.SHEAR_DEGREES, *view.shear.degrees, 0.0),
        flip=happens(Slot.FLIP, view.flip.probability),
        brightness=factor(Slot.BRIGHTNESS, view.jitter.brightness),
        contrast=factor(Slot.CONTRAST, view.jitter.contrast),
        saturation=factor(Slot.SATURATION, view.jitter.saturation),
        hue=amount(Slot.JITTER, view.jitter.probability, Slot.HUE, -view.jitter.hue, view.jitter.hue, 0.0),
        order=torch.from_numpy(ORDERS[(draws[Slot.ORDER] * len(ORDERS)).astype(np.int64)]),
        grayscale=happens(Slot.GRAYSCALE, view.grayscale.probability),
        sigma=amount(Slot.BLUR, view.blur.probability, Slot.SIGMA, *view.blur.sigma, 0.0),
        solarize=happens(Slot.SOLARIZE, view.solarize.probability),
        noise_std=amount(Slot.NOISE, view.noise.probability, Slot.NOISE_STD, *view.noise.std, 0.0),
        noise_key=torch.from_numpy(noise_keys(seed=seed, epoch=epoch, indices=indices, view=view_index)),
        blur_kernel=blur_kernel,
        solarize_threshold=view.solarize.threshold,
    )


class BoxSizes(NamedTuple):
    """Heights and widths of the boxes, (batch,) in whole pixels, and whether each lies in the centre or anywhere."""

    heights: np.ndarray
    widths: np.ndarray
    central: np.ndarray


class SizeRule(Protocol):
    """How large a crop is, given (slots, batch) draws and the images' heights and widths."""

    def __call__(self, crop: Crop, draws: np.ndarray, heights: np.ndarray, widths: np.ndarray, /) -> BoxSizes:
        """The boxes' sizes, at least one pixel and at most the image each way."""


def draw_boxes(
    crop: Crop,
    *,
    sizes: SizeRule,
    seed: int,
    epoch: int,
    indices: np.ndarray,
    view_index: int,
    heights: np.ndarray,
    widths: np.ndarray,
) -> np.ndarray:
    """Draw the crop of each sample; where no crop happens, it is the whole image.

    Args:
        crop: the distribution.
        sizes: the rule for the boxes' sizes.
        seed: of the run.
        epoch: counted from 0.
        indices: int64 (batch,), the samples' places in the data set.
        view_index: 0 or 1.
        heights: int64 (batch,), of the images in pixels.
        widths: the same.

    Returns:
        int64 (batch, 4): top, left, height and width of the boxes.
    """
    draws = uniforms(seed=seed, epoch=epoch, indices=indices, view=view_index, num_slots=Slot.END).T
    box_heights, box_widths, central = sizes(crop, draws, heights, widths)
    free_heights, free_widths = heights - box_heights, widths - box_widths
    tops = np.where(central, free_heights // 2, draws[Slot.CROP_TOP] * (free_heights + 1))
    lefts = np.where(central, free_widths // 2, draws[Slot.CROP_LEFT] * (free_widths + 1))
    boxes = np.stack([tops, lefts, box_heights, box_widths], axis=1)
    whole = np.stack([np.zeros_like(heights), np.zeros_like(widths), heights, widths], axis=1)
    return np.where(draws[Slot.CROP, :, None] < crop.probability, boxes, whole).astype(np.int64)


def first_fitting_sizes(crop: Crop, draws: np.ndarray, heights: np.ndarray, widths: np.ndarray, /) -> BoxSizes:
    """The rule of torchvision's RandomResizedCrop: the first of ten tries that fits into the image.

    Where none fits, it is the largest box of an allowed ratio, in the centre.
    """
    tried_heights, tried_widths = tried_sizes(crop, draws, heights, widths)
    fits = (tried_heights > 0) & (tried_heights <= heights) & (tried_widths > 0) & (tried_widths <= widths)
    first, samples, found = fits.argmax(axis=0), np.arange(len(heights)), fits.any(axis=0)
    central_heights, central_widths = _central(crop, heights, widths)
    return BoxSizes(
        heights=np.where(found, tried_heights[first, samples], central_heights),
        widths=np.where(found, tried_widths[first, samples], central_widths),
        central=np.logical_not(found),
    )


def tried_sizes(
    crop: Crop, draws: np.ndarray, heights: np.ndarray, widths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Heights and widths of all tries, (tries, batch) each: area uniform, ratio log-uniform; they may not fit."""
    low, high = crop.scale
    areas = heights * widths * (low + (high - low) * draws[Slot.CROP_AREA : Slot.CROP_AREA + NUM_CROP_TRIES])
    low, high = np.log(crop.ratio)
    ratios = np.exp(low + (high - low) * draws[Slot.CROP_RATIO : Slot.CROP_RATIO + NUM_CROP_TRIES])
    return np.rint(np.sqrt(areas / ratios)), np.rint(np.sqrt(areas * ratios))


def _central(crop: Crop, heights: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height and width of the largest box whose ratio is allowed, at least one pixel each way."""
    low, high = crop.ratio
    box_heights = np.where(widths < low * heights, np.rint(widths / low), heights)
    box_widths = np.where(widths > high * heights, np.rint(heights * high), widths)
    return np.maximum(box_heights, 1), np.maximum(box_widths, 1)
