"""Against a slow port of the published formulas: float64, one image (height, width, channels), one pixel at a time."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from byol_cli.schema.augmentation import Crop, FormulasName, View
from byol_cli.views import deepmind, photometric
from byol_cli.views.counter import uniforms
from byol_cli.views.pipeline import TwoViews
from byol_cli.views.plan import Slot, ViewPlan, draw_boxes, draw_plan

INDICES = np.arange(100, 124)
SIZE = 38  # where blur is three pixels wide by one set of formulas and five by the other
FACTORS = torch.linspace(0.5, 1.6, 24)
SHIFTS = torch.linspace(-0.5, 0.5, 24)
SIGMAS = torch.linspace(0.1, 2.0, 24)


def slow_box(crop: Crop, draws: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    low, high = crop.scale
    area = height * width * (low + (high - low) * draws[Slot.CROP_AREA])
    low, high = math.log(crop.ratio[0]), math.log(crop.ratio[1])
    ratio = math.exp(low + (high - low) * draws[Slot.CROP_RATIO])
    box_width = max(1, min(round(math.sqrt(area * ratio)), width))
    box_height = max(1, min(round(math.sqrt(area / ratio)), height))
    top = math.floor(draws[Slot.CROP_TOP] * (height - box_height + 1))
    return top, math.floor(draws[Slot.CROP_LEFT] * (width - box_width + 1)), box_height, box_width


def keys_cubic(distance: float) -> float:
    if distance <= 1:
        return 1.5 * distance**3 - 2.5 * distance**2 + 1
    return -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2


def four_taps(length: int, size: int) -> list[list[tuple[int, float]]]:
    """Of each new pixel: the pixels inside the cut that it is made of, with their weights."""
    taps = []
    for place in range(size):
        centre = (place + 0.5) * length / size - 0.5
        near = [math.floor(centre) + step for step in (-1, 0, 1, 2)]
        inside = [(pixel, keys_cubic(abs(pixel - centre))) for pixel in near if 0 <= pixel < length]
        total = sum(weight for _, weight in inside)
        taps.append([(pixel, weight / total) for pixel, weight in inside])
    return taps


def slow_resize(image: np.ndarray, box: Sequence[int], size: int) -> np.ndarray:
    top, left, height, width = box
    cut = image[top : top + height, left : left + width]
    resized = np.zeros((size, size, image.shape[2]))
    for y, row in enumerate(four_taps(height, size)):
        for x, column in enumerate(four_taps(width, size)):
            resized[y, x] = sum(a * b * cut[i, j] for i, a in row for j, b in column)
    return resized.clip(0, 1)


def to_hsv(red: float, green: float, blue: float) -> tuple[float, float, float]:
    value, span = max(red, green, blue), max(red, green, blue) - min(red, green, blue)
    if span == 0:
        return 0, 0, value
    if red == value:
        hue = (green - blue) / (6 * span)
    elif green == value:
        hue = (blue - red) / (6 * span) + 1 / 3
    else:
        hue = (red - green) / (6 * span) + 2 / 3
    return hue % 1, span / value, value


def from_hsv(hue: float, saturation: float, value: float) -> list[float]:
    chroma = saturation * value
    place = hue % 1 * 6
    middle = chroma * (1 - abs(place % 2 - 1))
    sectors = [(chroma, middle, 0), (middle, chroma, 0), (0, chroma, middle)]
    sectors += [(0, middle, chroma), (middle, 0, chroma), (chroma, 0, middle)]
    return [part + value - chroma for part in sectors[int(place)]]


def slow_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    return (image + (factor - 1)).clip(0, 1)


def slow_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    means = [image[..., channel].mean() for channel in range(image.shape[2])]
    return np.stack([factor * (image[..., c] - mean) + mean for c, mean in enumerate(means)], axis=2).clip(0, 1)


def slow_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    pixels = [to_hsv(*pixel) for pixel in image.reshape(-1, 3).tolist()]
    changed = [from_hsv(hue, min(max(saturation * factor, 0), 1), value) for hue, saturation, value in pixels]
    return np.array(changed).reshape(image.shape).clip(0, 1)


def slow_hue(image: np.ndarray, shift: float) -> np.ndarray:
    pixels = [to_hsv(*pixel) for pixel in image.reshape(-1, 3).tolist()]
    return np.array([from_hsv(hue + shift, *rest) for hue, *rest in pixels]).reshape(image.shape).clip(0, 1)


def slow_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    height, width = image.shape[:2]
    radius = int(height / 10 / 2)
    kernel = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(-radius, radius + 1)]
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)))
    wide = sum(k / sum(kernel) * padded[:, step : step + width] for step, k in enumerate(kernel))
    return sum(k / sum(kernel) * wide[step : step + height] for step, k in enumerate(kernel))


def slow_view(image: np.ndarray, plan: ViewPlan, number: int) -> np.ndarray:
    """One sample's view from its crop in [0, 1], before normalisation."""
    if plan.flip[number]:
        image = image[:, ::-1]
    operations = (slow_brightness, slow_contrast, slow_saturation, slow_hue)
    amounts = (plan.brightness, plan.contrast, plan.saturation, plan.hue)
    for operation in plan.order[number].tolist():
        image = operations[operation](image, float(amounts[operation][number]))
    if plan.grayscale[number]:
        image = np.repeat((image @ [0.2989, 0.5870, 0.1140])[..., None], 3, axis=2)
    if plan.sigma[number] > 0:
        image = slow_blur(image, float(plan.sigma[number]))
    if plan.solarize[number]:
        image = np.where(image < 0.5, image, 1 - image)
    return image.clip(0, 1)


def to_rows(image: Tensor) -> np.ndarray:
    """A tensor of bytes or of values in [0, 1] as the slow port has them."""
    values = image.permute(1, 2, 0).double().numpy()
    return values if image.is_floating_point() else values / 255


def share_within(tolerance: float, ours: Tensor, slow: Sequence[np.ndarray]) -> float:
    apart = (ours.double() - torch.from_numpy(np.stack(slow)).permute(0, 3, 1, 2)).abs()
    return (apart <= tolerance).double().mean().item()


@pytest.mark.parametrize(
    ("ours", "slow", "amounts", "torchvisions"),
    [
        (deepmind.adjust_brightness_, slow_brightness, FACTORS, photometric.adjust_brightness_),
        (deepmind.adjust_contrast_, slow_contrast, FACTORS, photometric.adjust_contrast_),
        (deepmind.adjust_saturation_, slow_saturation, FACTORS, photometric.adjust_saturation_),
        (partial(deepmind.blur_, taps=5), slow_blur, SIGMAS, partial(photometric.blur_, taps=5)),
    ],
    ids=["brightness", "contrast", "saturation", "blur"],
)
def test_each_operation_is_the_slow_one_and_torchvisions_is_not(
    ours: Callable[..., None],
    slow: Callable[..., np.ndarray],
    amounts: Tensor,
    torchvisions: Callable[..., None],
    images: Tensor,
) -> None:
    expected = [slow(to_rows(image), amount) for image, amount in zip(images, amounts.tolist(), strict=True)]
    for operation_, is_the_slow_one in ((ours, True), (torchvisions, False)):
        changed = images.clone()
        operation_(changed, amounts)
        assert (share_within(1e-5, changed, expected) == 1) == is_the_slow_one
        assert (share_within(1 / 255, changed, expected) > 0.95) == is_the_slow_one


def test_hue_is_the_slow_one_in_both(images: Tensor) -> None:
    expected = [slow_hue(to_rows(image), shift) for image, shift in zip(images, SHIFTS.tolist(), strict=True)]
    photometric.adjust_hue_(images, SHIFTS)
    assert share_within(1e-5, images, expected) == 1


@pytest.mark.parametrize("number", [0, 1])
def test_the_papers_views_are_the_slow_ones_and_torchvisions_are_not(
    number: int, paper_views: tuple[View, View], pictures: Tensor
) -> None:
    plan = draw_plan(paper_views[number], seed=9, epoch=1, indices=INDICES, view_index=number, blur_kernel=3)
    draws = uniforms(seed=9, epoch=1, indices=INDICES, view=number, num_slots=Slot.END)
    boxes = [slow_box(paper_views[number].crop, row, 40, 40) for row in draws]
    slow_crops = [slow_resize(to_rows(picture), box, SIZE) for picture, box in zip(pictures, boxes, strict=True)]
    crops, ours = (made[number] for made in made_by("deepmind", paper_views, pictures))
    assert share_within(0.501 / 255, crops / 255, slow_crops) == 1
    assert share_within(1e-5, ours, [slow_view(to_rows(crop), plan, i) for i, crop in enumerate(crops)]) > 0.9999
    # DeepMind's crops are not rounded; contrast, saturation and hue magnify the half level that ours lose.
    assert share_within(2 / 255, ours, [slow_view(crop, plan, i) for i, crop in enumerate(slow_crops)]) > 0.999
    crops, others = (made[number] for made in made_by("torchvision", paper_views, pictures))
    assert share_within(0.501 / 255, crops / 255, slow_crops) < 0.95  # what is enlarged is the same in both
    assert share_within(1 / 255, others, [slow_view(to_rows(crop), plan, i) for i, crop in enumerate(crops)]) < 0.5


def made_by(formulas: FormulasName, views: tuple[View, View], pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Crops and views, the latter not normalised."""
    ours = TwoViews(view1=views[0], view2=views[1], image_size=SIZE, seed=9, formulas=formulas)
    crops = ours.crops_of_batch(pictures, epoch=1, indices=INDICES)
    return crops, list(ours.finish(crops, epoch=1, indices=INDICES, mean=torch.zeros(3), std=torch.ones(3)))


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.integers(8, 20), seed=st.integers(0, 1000))
def test_crops_are_made_of_four_taps_a_side(height: int, width: int, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    image = torch.from_numpy(generator.integers(0, 256, (3, height, width), dtype=np.uint8))
    box_height, box_width = generator.integers(1, height + 1), generator.integers(1, width + 1)
    box = [
        generator.integers(height - box_height + 1),
        generator.integers(width - box_width + 1),
        box_height,
        box_width,
    ]
    expected = slow_resize(to_rows(image), box, size).transpose(2, 0, 1) * 255
    crop = deepmind.crop_resize(image, box, size=size, interpolation="bicubic")
    assert np.abs(crop.numpy() - expected).max() < 0.501


@given(
    sides=st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=12),
    scale=st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(sorted),
    ratio=st.tuples(st.floats(0.1, 5.0), st.floats(0.1, 5.0)).map(sorted),
    seed=st.integers(0, 2**63 - 1),
)
def test_boxes_are_one_try_cut_down_to_the_image(
    sides: list[tuple[int, int]], scale: list[float], ratio: list[float], seed: int
) -> None:
    crop = Crop(probability=1.0, scale=(scale[0], scale[1]), ratio=(ratio[0], ratio[1]), interpolation="bicubic")
    heights, widths = np.array(sides).T
    sample = {"seed": seed, "epoch": 2, "indices": np.arange(len(sides))}
    boxes = draw_boxes(crop, sizes=deepmind.single_try_sizes, view_index=1, heights=heights, widths=widths, **sample)
    draws = uniforms(view=1, num_slots=Slot.END, **sample)
    for box, row, (height, width) in zip(boxes, draws, sides, strict=True):
        assert tuple(box) == slow_box(crop, row, height, width)


@pytest.mark.parametrize("image_size", [8, 20, 32, 39, 40, 96, 160, 224, 256])
def test_blur_is_as_wide_as_published(image_size: int) -> None:
    assert deepmind.blur_taps(fraction=0.1, image_size=image_size) == 2 * int((image_size / 10) / 2) + 1
