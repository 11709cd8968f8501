import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.transforms import InterpolationMode

from byol_cli.schema.augmentation import FormulasName, View
from byol_cli.views import pipeline
from byol_cli.views.formulas import FORMULAS
from byol_cli.views.geometry import crop_resize
from byol_cli.views.noise import standard_normals
from byol_cli.views.photometric import blur_taps
from byol_cli.views.pipeline import TwoViews
from byol_cli.views.plan import ViewPlan, draw_boxes, draw_plan, first_fitting_sizes

MEAN, STD = torch.tensor([0.48, 0.45, 0.40]), torch.tensor([0.22, 0.23, 0.25])
OPERATORS = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
INDICES = np.arange(100, 124)


both_formulas = pytest.mark.parametrize("formulas", FORMULAS)


def as_it_is(image: Tensor) -> Tensor:
    return image


def to_whole_bytes(image: Tensor) -> Tensor:
    return (image * 255).round() / 255


def one_view_by_torchvision(
    image: Tensor, plan: ViewPlan, number: int, *, kept: Callable[[Tensor], Tensor] = as_it_is
) -> Tensor:
    """One sample's view from its crop (uint8, or float in [0, 1]), before noise and normalisation.

    After each operation the image is `kept` in some form.
    """
    if plan.angle[number] or plan.shear[number]:
        angle, shear = float(plan.angle[number]), float(plan.shear[number])
        image = kept(TF.affine(image, -angle, [0, 0], 1.0, [shear, 0.0], InterpolationMode.BILINEAR))
    if plan.flip[number]:
        image = TF.horizontal_flip(image)
    amounts = [float(amount[number]) for amount in (plan.brightness, plan.contrast, plan.saturation, plan.hue)]
    for operation in plan.order[number].tolist():
        image = kept(OPERATORS[operation](image, amounts[operation]))
    if plan.grayscale[number]:
        image = kept(TF.rgb_to_grayscale(image, 3))
    if plan.sigma[number]:
        image = kept(TF.gaussian_blur(image, [plan.blur_kernel] * 2, [float(plan.sigma[number])]))
    if plan.solarize[number]:
        image = TF.solarize(image, plan.solarize_threshold * (1 if image.is_floating_point() else 255))
    return image


def plans_of(views: tuple[View, View], *, image_size: int) -> list[ViewPlan]:
    taps = [blur_taps(fraction=view.blur.kernel, image_size=image_size) for view in views]
    return [
        draw_plan(view, seed=9, epoch=1, indices=INDICES, view_index=number, blur_kernel=taps[number])
        for number, view in enumerate(views)
    ]


def two_views(
    views: tuple[View, View], *, image_size: int = 32, seed: int = 9, formulas: FormulasName = "torchvision"
) -> TwoViews:
    return TwoViews(view1=views[0], view2=views[1], image_size=image_size, seed=seed, formulas=formulas)


def finished(views: TwoViews, crops: Tensor, *, indices: np.ndarray = INDICES) -> Tensor:
    mean, std = MEAN[: crops.shape[2]].to(crops.device), STD[: crops.shape[2]].to(crops.device)
    return torch.stack(views.finish(crops, epoch=1, indices=indices, mean=mean, std=std))


@pytest.fixture
def eventful_views(eventful_view: View) -> tuple[View, View]:
    return eventful_view, replace(eventful_view, crop=replace(eventful_view.crop, interpolation="bicubic"))


def test_the_whole_pipeline_is_torchvisions_image_by_image(
    paper_views: tuple[View, View], eventful_views: tuple[View, View], pictures: Tensor
) -> None:
    for views in (paper_views, eventful_views):
        ours = two_views(views)
        crops = ours.crops_of_batch(pictures, epoch=1, indices=INDICES)
        for view, plan, crop in zip(finished(ours, crops), plans_of(views, image_size=32), crops, strict=True):
            expected = torch.stack([one_view_by_torchvision(c.float() / 255, plan, i) for i, c in enumerate(crop)])
            noise = standard_normals(plan.noise_key, 3 * 32 * 32).view_as(expected)
            expected = (expected + plan.noise_std[:, None, None, None] * noise).clamp(0, 1)
            apart = (view * STD[:, None, None] + MEAN[:, None, None] - expected).abs()
            assert (apart < 1e-5).float().mean() > 0.999


@pytest.mark.parametrize("image_size", [32, 96])
def test_the_papers_views_are_torchvisions_rounded_to_whole_bytes_after_each_operation(
    image_size: int, paper_views: tuple[View, View], pictures: Tensor
) -> None:
    ours = two_views(paper_views, image_size=image_size)
    crops = ours.crops_of_batch(pictures, epoch=1, indices=INDICES)
    plans = plans_of(paper_views, image_size=image_size)
    for view, plan, crop in zip(finished(ours, crops), plans, crops, strict=True):
        images = enumerate(crop.float() / 255)
        expected = torch.stack([one_view_by_torchvision(c, plan, i, kept=to_whole_bytes) for i, c in images])
        apart = (view * STD[:, None, None] + MEAN[:, None, None] - expected).abs() * 255
        assert (apart <= 3).float().mean() > 0.999


def test_the_papers_views_are_torchvisions_on_whole_bytes_up_to_their_rounding(
    paper_views: tuple[View, View], pictures: Tensor
) -> None:
    ours = two_views(paper_views)
    crops = ours.crops_of_batch(pictures, epoch=1, indices=INDICES)
    for view, plan, crop in zip(finished(ours, crops), plans_of(paper_views, image_size=32), crops, strict=True):
        expected = torch.stack([one_view_by_torchvision(c, plan, i) for i, c in enumerate(crop)]).float()
        apart = ((view * STD[:, None, None] + MEAN[:, None, None]) * 255 - expected).abs()
        # On bytes torchvision rounds down after each of up to four adjustments: it loses half a level each time on
        # average and almost a whole one at most, twice what rounding to the nearest byte (the test above) can lose.
        assert (apart <= 4).float().mean() > 0.999
        assert apart.max() < 6


def test_crops_are_cut_from_the_drawn_boxes(paper_views: tuple[View, View], pictures: Tensor) -> None:
    ours = two_views(paper_views)
    sides = {"heights": np.array([40]), "widths": np.array([40])}
    for index, picture in zip(INDICES, pictures, strict=True):
        crops = ours.crops_of([picture], epoch=1, indices=np.array([index]))
        assert crops.shape == (2, 1, 3, 32, 32)
        for number, (view, crop) in enumerate(zip(paper_views, crops[:, 0], strict=True)):
            box = draw_boxes(
                view.crop,
                sizes=first_fitting_sizes,
                seed=9,
                epoch=1,
                indices=np.array([index]),
                view_index=number,
                **sides,
            )
            assert torch.equal(crop, crop_resize(picture, box[0], size=32, interpolation=view.crop.interpolation))


@both_formulas
def test_a_worker_cuts_the_crops_that_a_batch_in_memory_gets(
    formulas: FormulasName, eventful_views: tuple[View, View], pictures: Tensor
) -> None:
    ours = two_views(eventful_views, formulas=formulas)
    together = ours.crops_of_batch(pictures, epoch=1, indices=INDICES)
    by_worker = ours.crops_of(list(pictures), epoch=1, indices=INDICES)
    assert (together.int() - by_worker.int()).abs().max() <= 1


@both_formulas
def test_a_worker_cuts_the_same_crop_from_an_image_alone_and_among_others_of_any_size(
    formulas: FormulasName, eventful_views: tuple[View, View], pictures: Tensor
) -> None:
    ours = two_views(eventful_views, formulas=formulas)
    images = [picture[:, : 40 - number, : 17 + number] for number, picture in enumerate(pictures)]
    together = ours.crops_of(images, epoch=1, indices=INDICES)
    for number, image in enumerate(images):
        alone = ours.crops_of([image], epoch=1, indices=INDICES[number : number + 1])
        assert torch.equal(alone[:, 0], together[:, number])


@both_formulas
def test_a_sample_looks_the_same_in_any_batch(
    formulas: FormulasName, eventful_views: tuple[View, View], pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = two_views(eventful_views, formulas=formulas)
    crops = ours.crops_of_batch(pictures, epoch=1, indices=INDICES)
    together = finished(ours, crops)
    for chosen in (np.array([3]), np.array([20, 1, 7]), np.arange(23, -1, -1)):
        some = finished(ours, crops[:, chosen], indices=INDICES[chosen])
        torch.testing.assert_close(some, together[:, chosen], atol=2e-5, rtol=0)
    monkeypatch.setattr(pipeline, "CPU_PART", 5 * 3 * 32 * 32)
    torch.testing.assert_close(finished(ours, crops), together, atol=2e-5, rtol=0)


def test_views_repeat_exactly_and_differ_between_epochs_seeds_and_the_two_views(
    paper_views: tuple[View, View], pictures: Tensor
) -> None:
    same = (paper_views[0], paper_views[0])
    ours = two_views(same)
    crops = ours.crops_of_batch(pictures, epoch=1, indices=INDICES)
    assert torch.equal(finished(ours, crops), finished(ours, crops))
    assert torch.equal(crops, ours.crops_of_batch(pictures, epoch=1, indices=INDICES))
    others = (
        ours.crops_of_batch(pictures, epoch=2, indices=INDICES),
        two_views(same, seed=10).crops_of_batch(pictures, epoch=1, indices=INDICES),
        crops.flip(0),
    )
    for other in others:
        assert (other != crops).flatten(2).any(dim=2).all()


@both_formulas
def test_one_channel_goes_through_without_colour_operations(
    formulas: FormulasName, eventful_views: tuple[View, View], pictures: Tensor
) -> None:
    gray_views = tuple(
        replace(
            view,
            jitter=replace(view.jitter, saturation=0.0, hue=0.0),
            grayscale=replace(view.grayscale, probability=0.0),
        )
        for view in eventful_views
    )
    ours = two_views((gray_views[0], gray_views[1]), formulas=formulas)
    crops = ours.crops_of_batch(pictures[:, :1], epoch=1, indices=INDICES)
    views = finished(ours, crops)
    assert views.shape == (2, 24, 1, 32, 32)
    assert views.dtype == torch.float32
    assert views.isfinite().all()


@both_formulas
def test_the_object_survives_pickling_into_a_worker(
    formulas: FormulasName, paper_views: tuple[View, View], pictures: Tensor
) -> None:
    ours = two_views(paper_views, formulas=formulas)
    copy = pickle.loads(pickle.dumps(ours))
    images = list(pictures)
    expected = ours.crops_of(images, epoch=3, indices=INDICES)
    assert torch.equal(copy.crops_of(images, epoch=3, indices=INDICES), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@both_formulas
def test_a_gpu_makes_the_same_views_and_is_never_waited_for(
    formulas: FormulasName, eventful_views: tuple[View, View], pictures: Tensor
) -> None:
    ours = two_views(eventful_views, formulas=formulas)
    expected_crops = ours.crops_of_batch(pictures, epoch=1, indices=INDICES)
    on_gpu, crops_on_gpu, mean, std = pictures.cuda(), expected_crops.cuda(), MEAN.cuda(), STD.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        crops = ours.crops_of_batch(on_gpu, epoch=1, indices=INDICES)
        views = ours.finish(crops_on_gpu, epoch=1, indices=INDICES, mean=mean, std=std)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (crops.cpu().int() - expected_crops.int()).abs().max() <= 1
    torch.testing.assert_close(torch.stack(views).cpu(), finished(ours, expected_crops), atol=1e-3, rtol=0)
