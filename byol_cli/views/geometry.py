"""Where the pixels of a view come from: crop and resize on uint8, then rotation, shear and flip of whole batches."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from byol_cli.views.device import to_device
from byol_cli.views.touched import change_


def crop_resize(image: Tensor, box: Sequence[int] | np.ndarray, *, size: int, interpolation: str) -> Tensor:
    """Cut one box out of one image and resize it with antialiasing.

    Args:
        image: uint8 (channels, height, width).
        box: top, left, height and width in pixels.
        size: side of the square result.
        interpolation: `bilinear` or `bicubic`.

    Returns:
        uint8 (channels, size, size).
    """
    top, left, height, width = (int(number) for number in box)
    cut = image[:, top : top + height, left : left + width]
    return F.interpolate(cut[None], size=(size, size), mode=interpolation, antialias=True)[0]


def resize_short_side(images: Tensor, side: int) -> Tensor:
    """Resize to a short side of `side` pixels, the aspect ratio kept: bicubic, with antialiasing.

    Args:
        images: uint8 (..., channels, height, width).
        side: in pixels.
    """
    return resize(images, [side], interpolation=InterpolationMode.BICUBIC, antialias=True)


def crop_resize_batch(images: Tensor, boxes: np.ndarray, *, size: int, interpolation: str) -> Tensor:
    """Cut one box out of each image of a batch and resize it, as `crop_resize` does (to one level of 255).

    Resizing is separable: one matrix a sample for the columns, one for the rows, two batched products. What overshoots
    is cut off after each of them, as Pillow and PyTorch do it.

    Args:
        images: uint8 (batch, channels, height, width) on any device.
        boxes: int64 (batch, 4): top, left, height and width in pixels.
        size: side of the square results.
        interpolation: `bilinear` or `bicubic`.

    Returns:
        uint8 (batch, channels, size, size).
    """
    num, channels, height, width = images.shape
    sides = to_device(torch.from_numpy(boxes.T.astype(np.float32)), images.device)
    tops, lefts, heights, widths = sides[..., None, None]
    rows = _resize_matrices(tops, heights, side=height, size=size, interpolation=interpolation)
    columns = _resize_matrices(lefts, widths, side=width, size=size, interpolation=interpolation)
    by_row = images.permute(0, 2, 1, 3).contiguous().float().view(num, height * channels, width)
    narrowed = (by_row @ columns.mT).clamp_(0, 255).view(num, height, channels * size)
    resized = (rows @ narrowed).round_().clamp_(0, 255).to(torch.uint8)
    return resized.view(num, size, channels, size).permute(0, 2, 1, 3).contiguous()


def _resize_matrices(start: Tensor, length: Tensor, *, side: int, size: int, interpolation: str) -> Tensor:
    """Weight of each of `side` pixels in each of `size`: (batch, size, side); `start` and `length` are (batch, 1, 1).

    The rule is Pillow's and PyTorch's: the filter is centred on the new pixel and widened by the scale where that
    shrinks; its weights are normalised over the pixels inside the box.
    """
    scale = length / size
    centres = scale * (torch.arange(size, device=start.device)[:, None] + 0.5)
    pixels = torch.arange(side, device=start.device) + 0.5 - start
    distances = (pixels - centres).abs_().div_(scale.clamp(min=1))
    inside = ((pixels > 0) & (pixels < length)).float()
    weights = FILTERS[interpolation](distances).mul_(inside)
    return weights.div_(weights.sum(dim=2, keepdim=True))


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp_(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys's cubic with a = -0.5, as Pillow has it: two pieces, each 0 outside its own unit of distance."""
    near, far = distance.clamp(max=1), distance.clamp(min=1, max=2)
    return (1.5 * near - 2.5) * near * near + ((2.5 - 0.5 * far) * far - 4) * far + 3


FILTERS = {"bilinear": _triangle, "bicubic": _cubic}


def affine_batch_(images: Tensor, angle: Tensor, shear: Tensor) -> None:
    """Shear each image along x, then rotate it, about its centre, in place; bilinear, black outside.

    The same as torchvision's `functional.affine(image, -angle, [0, 0], 1, [shear, 0])`: that function turns clockwise,
    its `rotate` counter-clockwise, and so does this one. A positive shear leans the top to the right.

    Args:
        images: float (batch, channels, height, width) on any device.
        angle: degrees (batch,) on the CPU.
        shear: degrees (batch,) on the CPU.
    """
    change_(images, (angle != 0) | (shear != 0), _affine_, angle, shear)


def _affine_(images: Tensor, angle: Tensor, shear: Tensor) -> None:
    height, width = images.shape[-2:]
    cos, sin, tan = angle.deg2rad().cos(), angle.deg2rad().sin(), shear.deg2rad().tan()
    # From a place in the result back to its source, both from the centre, y downwards: rotation undone, then shear.
    across = torch.stack([cos + sin * tan, (cos * tan - sin) * height / width, torch.zeros_like(cos)], dim=1)
    down = torch.stack([sin * width / height, cos, torch.zeros_like(cos)], dim=1)
    grid = F.affine_grid(torch.stack([across, down], dim=1), list(images.shape), align_corners=False)
    images.copy_(F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False))


def flip_batch_(images: Tensor, flip: Tensor) -> None:
    """Exchange left and right where `flip`, bool (batch,) on the CPU; (batch, channels, height, width) in place."""
    change_(images, flip, lambda chosen: chosen.copy_(chosen.flip(-1)))
