import math
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp, kstest
from torchvision.transforms import RandomResizedCrop

from byol_cli.schema.augmentation import Crop, View
from byol_cli.views.counter import uniforms
from byol_cli.views.plan import Slot, ViewPlan, draw_boxes, draw_plan, first_fitting_sizes

NUM_DRAWS = 20_000


def plan_of(view: View, *, indices: np.ndarray | None = None, view_index: int = 0) -> ViewPlan:
    indices = np.arange(NUM_DRAWS) if indices is None else indices
    return draw_plan(view, seed=11, epoch=2, indices=indices, view_index=view_index, blur_kernel=23)


def boxes_of(crop: Crop, heights: np.ndarray, widths: np.ndarray, *, seed: int = 11) -> np.ndarray:
    return draw_boxes(
        crop,
        sizes=first_fitting_sizes,
        seed=seed,
        epoch=2,
        indices=np.arange(len(heights)),
        view_index=0,
        heights=heights,
        widths=widths,
    )


def assert_share(happened: torch.Tensor, probability: float) -> None:
    """The share of draws is within 4.5 standard errors of the probability (exact for 0 and 1)."""
    tolerance = 4.5 * math.sqrt(probability * (1 - probability) / len(happened))
    assert abs(happened.double().mean().item() - probability) <= tolerance


def assert_uniform(values: torch.Tensor, low: float, high: float) -> None:
    assert values.min() >= low - 1e-6
    assert values.max() <= high + 1e-6
    assert kstest(values.numpy(), "uniform", args=(low, high - low)).pvalue > 1e-4


@pytest.mark.parametrize("number", [0, 1])
def test_both_views_draw_the_papers_distributions(paper_views: tuple[View, View], number: int) -> None:
    plan = plan_of(paper_views[number], view_index=number)
    assert_share(plan.flip, 0.5)
    for factor, strength in ((plan.brightness, 0.4), (plan.contrast, 0.4), (plan.saturation, 0.2)):
        assert_share(factor != 1, 0.8)
        assert_uniform(factor[factor != 1], 1 - strength, 1 + strength)
    assert_share(plan.hue != 0, 0.8)
    assert_uniform(plan.hue[plan.hue != 0], -0.1, 0.1)
    assert_share(plan.grayscale, 0.2)
    assert_share(plan.sigma > 0, (1.0, 0.1)[number])
    assert_uniform(plan.sigma[plan.sigma > 0], 0.1, 2.0)
    assert_share(plan.solarize, (0.0, 0.2)[number])
    assert plan.solarize_threshold == 0.5
    for untouched in (plan.angle, plan.shear, plan.noise_std):
        assert not untouched.any()


def test_the_four_jitter_factors_happen_together(paper_views: tuple[View, View]) -> None:
    plan = plan_of(paper_views[0])
    for other in (plan.contrast != 1, plan.saturation != 1, plan.hue != 0):
        assert torch.equal(plan.brightness != 1, other)


def test_all_24_orders_of_the_jitter_are_equally_frequent(paper_views: tuple[View, View]) -> None:
    orders = plan_of(paper_views[0]).order
    assert torch.equal(orders.sort(dim=1).values, torch.arange(4).expand(NUM_DRAWS, 4))
    counts = (orders @ torch.tensor([64, 16, 4, 1])).unique(return_counts=True)[1]
    assert len(counts) == 24
    assert chisquare(counts.numpy()).pvalue > 1e-4


def test_rotation_shear_and_noise_are_drawn_from_their_ranges(eventful_view: View) -> None:
    plan = plan_of(eventful_view)
    for amount, low, high in ((plan.angle, -30, 20), (plan.shear, -15, 10), (plan.noise_std, 0.02, 0.1)):
        assert_share(amount != 0, 0.5)
        assert_uniform(amount[amount != 0], low, high)
    assert len(plan.noise_key.unique()) == NUM_DRAWS


def test_a_strength_of_zero_leaves_its_factor_at_exactly_one(paper_views: tuple[View, View]) -> None:
    still = replace(paper_views[0].jitter, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    plan = plan_of(replace(paper_views[0], jitter=still))
    for factor in (plan.brightness, plan.contrast, plan.saturation):
        assert (factor == 1).all()
    assert (plan.hue == 0).all()


def test_leaving_out_one_operation_moves_no_other_draw(eventful_view: View) -> None:
    full = plan_of(eventful_view)
    fewer = plan_of(replace(eventful_view, rotation=replace(eventful_view.rotation, probability=0.0)))
    assert not fewer.angle.any()
    for field in fields(ViewPlan):
        if field.name != "angle":
            assert np.array_equal(getattr(full, field.name), getattr(fewer, field.name))


def test_one_sample_alone_is_planned_as_in_a_batch(eventful_view: View) -> None:
    indices = np.array([17, 3, 250, 1_000_003, 4])
    together = plan_of(eventful_view, indices=indices)
    heights, widths = np.array([30, 500, 7, 224, 1]), np.array([45, 20, 7, 224, 900])
    rule = partial(draw_boxes, eventful_view.crop, sizes=first_fitting_sizes, seed=11, epoch=2, view_index=1)
    boxes = rule(indices=indices, heights=heights, widths=widths)
    for number, index in enumerate(indices):
        row = slice(number, number + 1)
        alone = plan_of(eventful_view, indices=np.array([index]))
        for field in fields(ViewPlan):
            assert np.array_equal(getattr(alone, field.name), getattr(together.select(row), field.name))
        box = rule(indices=np.array([index]), heights=heights[row], widths=widths[row])
        assert np.array_equal(box[0], boxes[number])


def box_by_the_book(crop: Crop, draws: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """RandomResizedCrop for one image, as torchvision's loop has it, from given draws."""
    if draws[Slot.CROP] >= crop.probability:
        return 0, 0, height, width
    for number in range(10):
        low, high = crop.scale
        area = height * width * (low + (high - low) * draws[Slot.CROP_AREA + number])
        low, high = math.log(crop.ratio[0]), math.log(crop.ratio[1])
        ratio = math.exp(low + (high - low) * draws[Slot.CROP_RATIO + number])
        box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box_height <= height and 0 < box_width <= width:
            top = math.floor(draws[Slot.CROP_TOP] * (height - box_height + 1))
            left = math.floor(draws[Slot.CROP_LEFT] * (width - box_width + 1))
            return top, left, box_height, box_width
    box_height, box_width = height, width
    if width / height < crop.ratio[0]:
        box_height = max(1, round(width / crop.ratio[0]))
    elif width / height > crop.ratio[1]:
        box_width = max(1, round(height * crop.ratio[1]))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


SIDES = st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=12)
NARROW_SIDES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 900)), min_size=1, max_size=12)
RANGES = st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(sorted)
RATIOS = st.tuples(st.floats(0.1, 5.0), st.floats(0.1, 5.0)).map(sorted)


@given(
    sides=SIDES | NARROW_SIDES,
    scale=RANGES,
    ratio=RATIOS,
    seed=st.integers(0, 2**63 - 1),
    probability=st.sampled_from([0.5, 1.0]),
)
def test_boxes_follow_torchvisions_rule_and_lie_inside_the_image(
    sides: list[tuple[int, int]], scale: list[float], ratio: list[float], seed: int, probability: float
) -> None:
    crop = Crop(
        probability=probability, scale=(scale[0], scale[1]), ratio=(ratio[0], ratio[1]), interpolation="bicubic"
    )
    heights, widths = np.array(sides).T
    boxes = boxes_of(crop, heights, widths, seed=seed)
    draws = uniforms(seed=seed, epoch=2, indices=np.arange(len(sides)), view=0, num_slots=Slot.END)
    tops, lefts, box_heights, box_widths = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (tops + box_heights <= heights).all()
    assert (lefts + box_widths <= widths).all()
    for box, row, (height, width) in zip(boxes, draws, sides, strict=True):
        assert tuple(box) == box_by_the_book(crop, row, height, width)


def test_boxes_cover_the_given_areas_and_ratios(paper_views: tuple[View, View]) -> None:
    heights, widths = np.full(NUM_DRAWS, 1000), np.full(NUM_DRAWS, 1000)
    _, _, box_heights, box_widths = boxes_of(paper_views[0].crop, heights, widths).T
    areas, ratios = box_heights * box_widths / 1e6, box_widths / box_heights
    assert 0.079 < areas.min() < 0.085
    assert 0.97 < areas.max() <= 1.0
    assert 0.747 < ratios.min() < 0.76
    assert 1.32 < ratios.max() < 1.339


@pytest.mark.parametrize(("height", "width"), [(224, 224), (120, 500), (40, 31)])
def test_boxes_are_distributed_as_torchvision_draws_them(
    paper_views: tuple[View, View], height: int, width: int
) -> None:
    crop = paper_views[0].crop
    ours = boxes_of(crop, np.full(NUM_DRAWS, height), np.full(NUM_DRAWS, width))
    image = torch.empty(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        theirs = np.array(
            [RandomResizedCrop.get_params(image, list(crop.scale), list(crop.ratio)) for _ in range(3_000)]
        )
    for statistic in (
        lambda box: box[:, 0],
        lambda box: box[:, 1],
        lambda box: box[:, 2],
        lambda box: box[:, 3],
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 2] / box[:, 3],
    ):
        assert ks_2samp(statistic(ours), statistic(theirs)).pvalue > 1e-3


def test_no_crop_takes_the_whole_image_as_often_as_asked(paper_views: tuple[View, View]) -> None:
    crop = replace(paper_views[0].crop, probability=0.3, scale=(0.08, 0.9))
    boxes = boxes_of(crop, np.full(NUM_DRAWS, 300), np.full(NUM_DRAWS, 300))
    assert_share(torch.from_numpy((boxes == [0, 0, 300, 300]).all(axis=1)), 0.7)
