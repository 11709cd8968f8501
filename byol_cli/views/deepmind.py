"""Operations where DeepMind's released code (`byol/utils/augmentations.py` and `dataset.py`) departs from torchvision.

Images and amounts are as in `geometry.py` and `photometric.py`, whose operations of the same names these replace.
What is not here is the same in both: flip, hue, grayscale and solarize.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from byol_cli.schema.augmentation import Crop
from byol_cli.views.device import to_device
from byol_cli.views.geometry import FILTERS
from byol_cli.views.photometric import convolve, each
from byol_cli.views.plan import BoxSizes, tried_sizes

TAPS = 4
"""Pixels, along one side, that an interpolated value is made of."""


def single_try_sizes(crop: Crop, draws: np.ndarray, heights: np.ndarray, widths: np.ndarray, /) -> BoxSizes:
    """One try; what is too large is cut down to the image, which may leave the allowed ratios."""
    tried_heights, tried_widths = tried_sizes(crop, draws, heights, widths)
    return BoxSizes(
        heights=tried_heights[0].clip(1, heights),
        widths=tried_widths[0].clip(1, widths),
        central=np.zeros(len(heights), dtype=bool),
    )


def crop_resize(image: Tensor, box: Sequence[int] | np.ndarray, *, size: int, interpolation: str) -> Tensor:
    """Cut one box out of one uint8 image (channels, height, width) and resize it, as `crop_resize_batch` does."""
    top, left, height, width = (int(number) for number in box)
    cut = image[None, :, top : top + height, left : left + width]
    return crop_resize_batch(cut, np.array([[0, 0, height, width]]), size=size, interpolation=interpolation)[0]


def crop_resize_batch(images: Tensor, boxes: np.ndarray, *, size: int, interpolation: str) -> Tensor:
    """Cut one box out of each image of a batch and resize it without antialiasing, as TensorFlow does.

    Each value is made of the nearest four pixels a side however much the box shrinks; what overshoots is cut off at
    the end only. Rows and then columns are picked and summed as bags of weighted embeddings. Takes and returns what
    the operation of the same name in `geometry.py` does.
    """
    num, channels, height, width = images.shape
    tops, lefts, heights, widths = to_device(torch.from_numpy(boxes.T.astype(np.float32)), images.device)
    pixels, weights = _taps(tops, heights, side=height, size=size, interpolation=interpolation)
    values = images.permute(0, 2, 1, 3).reshape(num * height, channels * width).float()
    values = F.embedding_bag(pixels, values, per_sample_weights=weights, mode="sum")
    pixels, weights = _taps(lefts, widths, side=width, size=size, interpolation=interpolation)
    values = values.view(num, size * channels, width).mT.reshape(num * width, size * channels)
    values = F.embedding_bag(pixels, values, per_sample_weights=weights, mode="sum")
    resized = values.round_().clamp_(0, 255).to(torch.uint8)
    return resized.view(num, size, size, channels).permute(0, 3, 2, 1).contiguous()


def _taps(start: Tensor, length: Tensor, *, side: int, size: int, interpolation: str) -> tuple[Tensor, Tensor]:
    """Which pixels each of `size` new ones is made of, and their weights; both (batch x size, 4).

    The pixels are numbered through the batch, `side` of them an image; `start` and `length` are (batch,). Pixels
    outside the box have no weight, the others' weights are scaled to a sum of one.
    """
    start, length = start[:, None, None], length[:, None, None]
    centres = (torch.arange(size, device=start.device)[:, None] + 0.5) * (length / size) - 0.5
    near = centres.floor() + torch.arange(1 - TAPS // 2, 1 + TAPS // 2, device=start.device)
    inside = ((near >= 0) & (near < length)).float()
    weights = FILTERS[interpolation]((near - centres).abs_()).mul_(inside)
    weights = weights.div_(weights.sum(dim=2, keepdim=True))
    first = side * torch.arange(len(start), device=start.device)[:, None, None]
    pixels = near.clamp(min=0).minimum(length - 1).add_(start).long().add_(first)
    return pixels.flatten(0, 1), weights.flatten(0, 1)


def adjust_brightness_(images: Tensor, factor: Tensor) -> None:
    """Add factor - 1 to every value, clamp."""
    images.add_(each(factor - 1)).clamp_(0, 1)


def adjust_contrast_(images: Tensor, factor: Tensor) -> None:
    """Move away from each channel's own mean by the factor, clamp."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    images.sub_(mean).mul_(each(factor)).add_(mean).clamp_(0, 1)


def adjust_saturation_(images: Tensor, factor: Tensor) -> None:
    """Multiply the saturation of HSV by the factor, up to 1, hue and value kept; 3 channels.

    Saturation is the channels' span over the highest of them, so that each channel's distance from the highest is
    multiplied by the same number.
    """
    high = images.amax(dim=1, keepdim=True)
    span = high - images.amin(dim=1, keepdim=True)
    factor = (high / span.clamp_(min=1e-12)).minimum(each(factor))
    images.sub_(high).mul_(factor).add_(high).clamp_(0, 1)


def blur_taps(*, fraction: float, image_size: int) -> int:
    """Width of the blur's kernel in pixels, always odd: half of `fraction` of the side, rounded down, each way."""
    return 2 * int(fraction * image_size / 2) + 1


def blur_(images: Tensor, sigma: Tensor, *, taps: int) -> None:
    """Gaussian blur of `sigma` pixels, along the rows and then the columns, black outside the border.

    Args:
        images: as above.
        sigma: float32 (batch,).
        taps: odd width of the kernel.
    """
    radius = taps // 2
    images.copy_(convolve(F.pad(images, (radius, radius, radius, radius)), sigma, taps=taps))
