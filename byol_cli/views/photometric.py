"""What happens to the values of a view: a whole batch at once, on any device, each sample by its own draws.

Images are float32 (batch, channels, height, width) in [0, 1], changed in place; amounts are float32 (batch,) on their
device. Each operation means exactly what torchvision's functional operator of the same purpose means.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def adjust_brightness_(images: Tensor, factor: Tensor) -> None:
    """Multiply by the factor, clamp."""
    images.mul_(each(factor)).clamp_(0, 1)


def adjust_contrast_(images: Tensor, factor: Tensor) -> None:
    """Move away from the mean of the gray image by the factor, clamp."""
    mean = luminance(images.mean(dim=(2, 3), keepdim=True)).mean(dim=1, keepdim=True)
    _blend_(images, mean, factor)


def adjust_saturation_(images: Tensor, factor: Tensor) -> None:
    """Move away from the gray image by the factor, clamp; 3 channels."""
    _blend_(images, luminance(images), factor)


def adjust_hue_(images: Tensor, shift: Tensor) -> None:
    """Turn the hue of HSV by `shift` of the circle, saturation and value kept; 3 channels."""
    red, green, blue = images.split(1, dim=1)
    high = images.amax(dim=1, keepdim=True)
    low = images.amin(dim=1, keepdim=True)
    # Weights of 0 and 1 for lerp, which chooses several times faster than torch.where.
    is_red, is_green = high.clone().eq_(red), high.clone().eq_(green)
    span = high.sub_(low)
    # The hue in sixths of the circle, -1 to 5: red is 0, green 2, blue 4. A gray pixel's, 0, is hidden by its span.
    hue = (red - green).lerp_(blue - red, is_green).lerp_(green - blue, is_red).div_(span.clamp(min=1e-12))
    hue.add_(is_green.mul_(-2).add_(4).mul_(is_red.neg_().add_(1)))
    # Turning the pixels is turning the colours back; each channel is full within a sixth of its own colour, nought
    # beyond two. Places are at most 6 apart, so that the way round the circle is 3 - |3 - distance|.
    colours = (torch.arange(0, 6, 2, device=images.device) - 6 * shift[:, None] + 1).remainder_(6).sub_(1)
    torch.sub(hue, colours[:, :, None, None], out=images)
    images.abs_().sub_(3).abs_().clamp_(1, 2).mul_(span).add_(low.sub_(span))


def grayscale_(images: Tensor) -> None:
    """Remove all colour, keep the channel count."""
    images.copy_(luminance(images).expand_as(images))


def blur_taps(*, fraction: float, image_size: int) -> int:
    """Width of the blur's kernel in pixels, always odd: 23 for a tenth of 224, as in DeepMind's code."""
    return 2 * (round(fraction * image_size) // 2) + 1


def blur_(images: Tensor, sigma: Tensor, *, taps: int) -> None:
    """Gaussian blur of `sigma` pixels, along the rows and then the columns, the border mirrored.

    Args:
        images: as above.
        sigma: float32 (batch,).
        taps: odd width of the kernel, at most twice the image's side minus 1.
    """
    radius = taps // 2
    images.copy_(convolve(F.pad(images, (radius, radius, radius, radius), mode="reflect"), sigma, taps=taps))


def convolve(padded: Tensor, sigma: Tensor, *, taps: int) -> Tensor:
    """The part of a Gaussian blur where the kernel of `taps` by `taps` lies inside the images."""
    num, channels, height, width = padded.shape
    offsets = torch.arange(-(taps // 2), taps // 2 + 1, device=padded.device)
    kernels = (-0.5 * (offsets / sigma[:, None]) ** 2).softmax(dim=1)
    kernels = kernels[:, None].expand(num, channels, taps).reshape(num * channels, 1, 1, taps)
    planes = padded.reshape(1, num * channels, height, width)
    planes = F.conv2d(planes, kernels, groups=num * channels)
    planes = F.conv2d(planes, kernels.mT, groups=num * channels)
    return planes.view(num, channels, *planes.shape[-2:])


def solarize_(images: Tensor, *, threshold: float) -> None:
    """Invert the values at or above the threshold."""
    above = images.clone().ge_(threshold)
    images.sub_(above).abs_()  # 1 - x there and x elsewhere, faster than torch.where


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Subtract the channels' mean and divide by their standard deviation, both (channels,) on the images' device."""
    return (images - mean[:, None, None]).mul_(std.reciprocal()[:, None, None])


def luminance(images: Tensor) -> Tensor:
    """The gray image (batch, 1, height, width) of red, green and blue by ITU-R 601; other images as they are."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.split(1, dim=1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _blend_(images: Tensor, others: Tensor, factor: Tensor) -> None:
    factor = each(factor)
    images.mul_(factor).add_(others * (1 - factor)).clamp_(0, 1)


def each(amount: Tensor) -> Tensor:
    """One number an image, (batch,), to be combined with images."""
    return amount[:, None, None, None]
