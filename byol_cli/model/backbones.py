"""The networks that turn images into features, by name. All start from random weights; nothing is downloaded."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from byol_cli.model.outside import custom_network, timm_network
from byol_cli.model.refusal import refusing
from byol_cli.model.small_resnet import SmallResNet
from byol_cli.schema.errors import InputError


class Backbone(nn.Module):
    """`network` with one feature vector an image, `feature_dim` long; `network` keeps its own parameter names."""

    def __init__(self, network: nn.Module, *, setting: str, in_channels: int, image_size: int) -> None:
        """Finds `feature_dim` by running one black image; `setting` names the network in messages, as the user did.

        Raises InputError where the network cannot take (batch, in_channels, image_size, image_size) images.
        """
        super().__init__()
        self.network = network
        self.setting = setting
        image = torch.zeros(1, in_channels, image_size, image_size)
        self.eval()
        with refusing(f"{setting} cannot take images of {in_channels}x{image_size}x{image_size}"), torch.no_grad():
            self.feature_dim: int = self(image).shape[1]
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, feature_dim); feature maps are averaged over their positions."""
        features = self.network(images)
        if not isinstance(features, Tensor) or features.dim() not in (2, 4):
            what = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            needed = "a tensor (batch, features) or (batch, channels, height, width)"
            raise InputError(f"{self.setting} must return {needed}, but it returned {what}")
        return features.mean(dim=(2, 3)) if features.dim() == 4 else features


def build_backbone(name: str, *, in_channels: int, image_size: int, **options: Any) -> Backbone:
    """The backbone `name` of BACKBONES for square images of `image_size` pixels; `options` are that backbone's own.

    Raises InputError for an unknown name and for what the backbone cannot do.
    """
    if name not in BACKBONES:
        raise InputError(f"backbone={name} is none of {', '.join(BACKBONES)}")
    network = BACKBONES[name](in_channels=in_channels, image_size=image_size, **options)
    setting = " ".join([f"backbone={name}", *(f"backbone.{k}={v}" for k, v in options.items() if isinstance(v, str))])
    return Backbone(network, setting=setting, in_channels=in_channels, image_size=image_size)


def _resnet(
    build: Callable[..., models.ResNet],
    *,
    in_channels: int,
    image_size: int,
    small_images: bool,
    zero_init_residual: bool,
) -> nn.Module:
    network = build(weights=None, zero_init_residual=zero_init_residual)
    network.fc = nn.Identity()
    size, stride = (3, 1) if small_images else (7, 2)
    network.conv1 = nn.Conv2d(in_channels, 64, size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    if small_images:
        network.maxpool = nn.Identity()
    return network


def _convnext_tiny(*, in_channels: int, image_size: int) -> nn.Module:
    network = models.convnext_tiny(weights=None)
    # Only the linear layer goes: the LayerNorm before it normalises the features.
    network.classifier[2] = nn.Identity()
    stem = nn.Conv2d(in_channels, 96, 4, stride=4)
    nn.init.trunc_normal_(stem.weight, std=0.02)
    nn.init.zeros_(stem.get_parameter("bias"))
    network.features[0][0] = stem
    return network


def _resnet_small(*, image_size: int, **options: Any) -> nn.Module:
    return SmallResNet(**options)


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": partial(_resnet, models.resnet18),
    "resnet34": partial(_resnet, models.resnet34),
    "resnet50": partial(_resnet, models.resnet50),
    "resnet101": partial(_resnet, models.resnet101),
    "wide_resnet50": partial(_resnet, models.wide_resnet50_2),
    "convnext_tiny": _convnext_tiny,
    "resnet_small": _resnet_small,
    "timm": timm_network,
    "custom": custom_network,
}
