"""A backbone that needs more of the state than the built-in ones do."""

import torch
from torch import nn


def build(in_channels: int) -> nn.Module:
    """A small network with dropout, which draws from torch's global generator at every forward pass.

    Its features are faint, so that the BatchNorm after them makes gradients steep: under fp16 they overflow, and the
    loss scaler has something to remember.
    """
    faint = nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        faint.weight.mul_(0.01)
    return nn.Sequential(nn.Conv2d(in_channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), faint)
