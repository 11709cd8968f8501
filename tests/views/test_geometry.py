from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from byol_cli.views.geometry import affine_batch_, crop_resize, crop_resize_batch, flip_batch_

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

any_crop = given(
    channels=st.sampled_from([1, 3, 4]),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.integers(8, 60),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    seed=st.integers(0, 1000),
)


def random_boxes(number: int, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    box_heights, box_widths = generator.integers(1, height + 1, number), generator.integers(1, width + 1, number)
    tops, lefts = generator.integers(0, height - box_heights + 1), generator.integers(0, width - box_widths + 1)
    return np.stack([tops, lefts, box_heights, box_widths], axis=1)


def after(operation_: Callable[..., None], images: Tensor, *amounts: Any) -> Tensor:
    """A copy of the images, changed."""
    images = images.clone()
    operation_(images, *amounts)
    return images


def levels_apart(first: Tensor, second: Tensor) -> int:
    assert first.dtype == second.dtype == torch.uint8
    return int((first.int() - second.int()).abs().max())


@pytest.mark.parametrize(("interpolation", "share"), [("bilinear", 1.0), ("bicubic", 0.99)])
def test_one_crop_is_pillows_to_a_level(interpolation: str, share: float, pictures: Tensor) -> None:
    generator = np.random.default_rng(0)
    for picture, box in zip(pictures, random_boxes(len(pictures), 40, 40, generator), strict=True):
        top, left, height, width = box
        image = Image.fromarray(picture.permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
        expected = TF.pil_to_tensor(image.resize((32, 32), PILLOW[interpolation]))
        crop = crop_resize(picture, box, size=32, interpolation=interpolation)
        assert ((crop.int() - expected.int()).abs() <= 1).float().mean() >= share


@settings(max_examples=60)
@any_crop
def test_one_crop_is_torchvisions_bit_for_bit(
    channels: int, height: int, width: int, size: int, interpolation: str, seed: int
) -> None:
    image = torch.randint(0, 256, (channels, height, width), generator=torch.manual_seed(seed)).to(torch.uint8)
    box = random_boxes(1, height, width, np.random.default_rng(seed))[0]
    expected = TF.resized_crop_image(
        image, *box.tolist(), [size, size], interpolation=InterpolationMode(interpolation), antialias=True
    )
    assert torch.equal(crop_resize(image, box, size=size, interpolation=interpolation), expected)


@settings(max_examples=60)
@any_crop
def test_crops_of_a_batch_are_torchvisions_to_a_level(
    channels: int, height: int, width: int, size: int, interpolation: str, seed: int
) -> None:
    images = torch.randint(0, 256, (5, channels, height, width), generator=torch.manual_seed(seed)).to(torch.uint8)
    boxes = random_boxes(5, height, width, np.random.default_rng(seed))
    boxes[0] = [0, 0, height, width]
    together = crop_resize_batch(images, boxes, size=size, interpolation=interpolation)
    alone = torch.stack(
        [
            TF.resized_crop(image, *box, [size, size], InterpolationMode(interpolation), antialias=True)
            for image, box in zip(images, boxes.tolist(), strict=True)
        ]
    )
    assert together.shape == (5, channels, size, size)
    assert levels_apart(together, alone) <= 1


def test_a_whole_image_of_the_right_size_is_left_alone(pictures: Tensor) -> None:
    boxes = np.tile([0, 0, 40, 40], (len(pictures), 1))
    for interpolation in ("bilinear", "bicubic"):
        assert torch.equal(crop_resize_batch(pictures, boxes, size=40, interpolation=interpolation), pictures)


def test_pixels_outside_the_box_have_no_influence() -> None:
    images = torch.full((1, 1, 20, 20), 255, dtype=torch.uint8)
    images[:, :, 5:15, 4:9] = 100
    crops = crop_resize_batch(images, np.array([[5, 4, 10, 5]]), size=13, interpolation="bicubic")
    assert (crops == 100).all()


@pytest.mark.parametrize(("height", "width"), [(40, 40), (31, 24)])
def test_affine_is_torchvisions_image_by_image(height: int, width: int, pictures: Tensor) -> None:
    images = pictures[:, :, :height, :width].float() / 255
    generator = torch.Generator().manual_seed(1)
    angle, shear = torch.empty(2, len(images)).uniform_(-60, 60, generator=generator)
    angle[::3], shear[1::3] = 0, 0
    expected = torch.stack(
        [
            TF.affine(image, -float(a), [0, 0], 1.0, [float(s), 0.0], InterpolationMode.BILINEAR)
            for image, a, s in zip(images, angle, shear, strict=True)
        ]
    )
    torch.testing.assert_close(after(affine_batch_, images, angle, shear), expected, atol=3e-5, rtol=0)


def test_positive_angles_turn_counter_clockwise_and_black_comes_in(pictures: Tensor) -> None:
    images = pictures[:2].float() / 255
    turned = after(affine_batch_, images, torch.tensor([90.0, 45.0]), torch.zeros(2))
    torch.testing.assert_close(turned[0], images[0].rot90(1, dims=(-2, -1)), atol=1e-4, rtol=0)
    torch.testing.assert_close(turned[1], TF.rotate(images[1], 45.0, InterpolationMode.BILINEAR), atol=3e-5, rtol=0)
    assert not turned[1][:, 0, 0].any()


def test_positive_shear_leans_the_top_to_the_right() -> None:
    images = torch.zeros(1, 1, 21, 21)
    images[..., 10] = 1
    sheared = after(affine_batch_, images, torch.zeros(1), torch.tensor([30.0]))
    assert sheared[0, 0, 2].argmax() > 10 > sheared[0, 0, 18].argmax()


def test_geometry_leaves_untouched_samples_as_they_are(pictures: Tensor) -> None:
    images = pictures.float() / 255
    chosen = torch.arange(len(images)) % 2 == 0
    for changed in (
        after(affine_batch_, images, 20.0 * chosen, torch.zeros(len(images))),
        after(affine_batch_, images, torch.zeros(len(images)), 20.0 * chosen),
        after(flip_batch_, images, chosen),
    ):
        assert torch.equal(changed[~chosen], images[~chosen])
        assert (changed[chosen] != images[chosen]).flatten(1).any(dim=1).all()


def test_flip_exchanges_left_and_right(pictures: Tensor) -> None:
    flipped = after(flip_batch_, pictures, torch.ones(len(pictures), dtype=torch.bool))
    assert torch.equal(flipped, TF.horizontal_flip(pictures))
