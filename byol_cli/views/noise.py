"""Gaussian noise as a pure function of a key and a pixel's number, the same on the CPU and on a GPU to rounding."""

import math

import torch
from torch import Tensor

from byol_cli.views.counter import GOLDEN, MULTIPLIERS, SHIFTS


def hash_pixels(keys: Tensor, num_pixels: int) -> Tensor:
    """`counter.hash64(key, pixel)` in int64 arithmetic, which wraps alike on every device.

    Args:
        keys: int64 (batch,).
        num_pixels: the pixels are numbered from 0.

    Returns:
        int64 (batch, num_pixels).
    """
    states = _mix(keys + _signed(GOLDEN))[:, None]
    return _mix((states ^ torch.arange(num_pixels, device=keys.device)).add_(_signed(GOLDEN)))


def standard_normals(keys: Tensor, num_pixels: int) -> Tensor:
    """N(0, 1) draws, float32 (batch, num_pixels), by Box and Muller: one hash gives a pair."""
    bits = hash_pixels(keys, (num_pixels + 1) // 2)
    radius = ((_shifted(bits, 40) + 1).float() * 2.0**-24).log_().mul_(-2).sqrt_()
    angle = (bits & (2**24 - 1)).float() * (2 * math.pi * 2.0**-24)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :num_pixels]


def add_noise_(images: Tensor, std: Tensor, keys: Tensor) -> None:
    """Add std x N(0, 1) to every value and clamp to [0, 1].

    Args:
        images: float32 (batch, channels, height, width) in [0, 1], changed in place.
        std: float32 (batch,).
        keys: int64 (batch,).
    """
    normals = standard_normals(keys, images[0].numel()).view_as(images)
    images.add_(normals.mul_(std[:, None, None, None])).clamp_(0, 1)


def _mix(bits: Tensor) -> Tensor:
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
        bits = (bits ^ _shifted(bits, shift)).mul_(_signed(multiplier))
    return bits ^ _shifted(bits, SHIFTS[-1])


def _shifted(bits: Tensor, places: int) -> Tensor:
    """To the right with zeros coming in, which PyTorch has for no signed type."""
    return (bits >> places).bitwise_and_((1 << (64 - places)) - 1)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
