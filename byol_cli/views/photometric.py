"""What happens to the values of a view: a whole batch at once, on any device, each sample by its own draws.

Images are float32 (batch, channels, height, width) in [0, 1]; amounts are float32 (batch,) on their device.
Each operation means exactly what torchvision's functional operator of the same purpose means.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from byol_cli.views.noise import add_noise
from byol_cli.views.plan import ViewPlan
from byol_cli.views.touched import change_


def apply_photometric(images: Tensor, plan: ViewPlan) -> Tensor:
    """Jitter, grayscale, blur, solarize and noise, in this order, each on the samples that the plan names.

    Args:
        images: float32 (batch, channels, height, width) in [0, 1] on any device; left as they are.
        plan: of the same batch.
    """
    images = images.clone()
    adjustments = (
        (adjust_brightness, plan.brightness, plan.brightness != 1),
        (adjust_contrast, plan.contrast, plan.contrast != 1),
        (adjust_saturation, plan.saturation, plan.saturation != 1),
        (adjust_hue, plan.hue, plan.hue != 0),
    )
    for place in range(len(adjustments)):
        for number, (adjust, amount, touched) in enumerate(adjustments):
            change_(images, touched & (plan.order[:, place] == number), adjust, amount)
    change_(images, plan.grayscale, grayscale)
    change_(images, plan.sigma > 0, lambda chosen, sigma: blur(chosen, sigma, taps=plan.blur_kernel), plan.sigma)
    change_(images, plan.solarize, lambda chosen: solarize(chosen, threshold=plan.solarize_threshold))
    change_(images, plan.noise_std > 0, add_noise, plan.noise_std, plan.noise_key)
    return images


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by the factor, clamp."""
    return (images * _each(factor)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move away from the mean of the gray image by the factor, clamp."""
    return _blend(images, luminance(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move away from the gray image by the factor, clamp; 3 channels."""
    return _blend(images, luminance(images), factor)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of HSV by `shift` of the circle, saturation and value kept; 3 channels."""
    red, green, blue = images.unbind(1)
    low = torch.minimum(torch.minimum(red, green), blue)
    high = torch.maximum(torch.maximum(red, green), blue)
    span = high - low
    sixth = span.clamp(min=1e-12).reciprocal_()
    # In sixths of the circle: red is 0, green 2, blue 4. A gray pixel has none; its span of 0 hides what comes out.
    near_red = (green - blue).mul_(sixth)
    near_green = (blue - red).mul_(sixth).add_(2)
    near_blue = (red - green).mul_(sixth).add_(4)
    # With weights of 0 and 1, lerp chooses several times faster than torch.where.
    hue = near_blue.lerp_(near_green, (high == green).float()).lerp_(near_red, (high == red).float())
    hue = hue.add_(6 * shift[:, None, None])
    hue = hue.sub_((hue / 6).floor_().mul_(6))
    parts = ((hue - 3).abs_() - 1, 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_())
    return torch.stack([part.clamp_(0, 1).mul_(span).add_(low) for part in parts], dim=1)


def grayscale(images: Tensor) -> Tensor:
    """All colour removed, the channel count kept."""
    return luminance(images).expand_as(images)


def blur(images: Tensor, sigma: Tensor, *, taps: int) -> Tensor:
    """Gaussian blur of `sigma` pixels, along the rows and then the columns, the border mirrored.

    Args:
        images: float32 (batch, channels, height, width).
        sigma: float32 (batch,).
        taps: odd width of the kernel, at most twice the image's side minus 1.
    """
    num, channels, height, width = images.shape
    radius = taps // 2
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernels = (-0.5 * (offsets / sigma[:, None]) ** 2).softmax(dim=1)
    kernels = kernels[:, None].expand(num, channels, taps).reshape(num * channels, 1, 1, taps)
    planes = images.reshape(1, num * channels, height, width)
    planes = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = F.conv2d(planes, kernels, groups=num * channels)
    planes = F.conv2d(planes, kernels.mT, groups=num * channels)
    return planes.view_as(images)


def solarize(images: Tensor, *, threshold: float) -> Tensor:
    """Invert the values at or above the threshold."""
    return ((images >= threshold).float() - images).abs_()  # 1 - x there and x elsewhere, faster than torch.where


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Subtract the channels' mean and divide by their standard deviation, both (channels,) on the images' device."""
    return (images - mean[:, None, None]) / std[:, None, None]


def luminance(images: Tensor) -> Tensor:
    """The gray image (batch, 1, height, width) of red, green and blue by ITU-R 601; other images as they are."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.split(1, dim=1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def _blend(images: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    factor = _each(factor)
    return (images * factor).add_(others * (1 - factor)).clamp_(0, 1)


def _each(amount: Tensor) -> Tensor:
    return amount[:, None, None, None]
