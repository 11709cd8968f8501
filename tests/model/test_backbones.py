"""Backbones against torchvision's own networks and the feature sizes that their papers give."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from byol_cli.model.backbones import BACKBONES, Backbone, build_backbone
from byol_cli.schema.errors import InputError
from byol_cli.schema.model import BACKBONES as SCHEMAS

RESNET = {"small_images": True, "zero_init_residual": False}
SMALL_RESNET = {"widths": [4, 8], "blocks": [1, 1], "zero_init_residual": False}


def images(channels: int, size: int = 32, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_the_table_has_the_schemas_names() -> None:
    assert list(BACKBONES) == list(SCHEMAS)


@pytest.mark.parametrize(
    ("name", "channels", "options", "feature_dim"),
    [
        *(("resnet18", channels, RESNET, 512) for channels in (1, 3, 5)),
        *(("resnet_small", channels, SMALL_RESNET, 8) for channels in (1, 3, 5)),
        ("resnet34", 1, RESNET, 512),
        ("resnet50", 5, {"small_images": False, "zero_init_residual": True}, 2048),
        ("resnet101", 3, {"small_images": False, "zero_init_residual": False}, 2048),
        ("wide_resnet50", 3, {"small_images": False, "zero_init_residual": False}, 2048),
        ("convnext_tiny", 1, {}, 768),
    ],
)
def test_every_backbone_builds_and_gives_one_vector_an_image(
    name: str, channels: int, options: dict[str, Any], feature_dim: int
) -> None:
    backbone = build_backbone(name, in_channels=channels, image_size=32, **options)
    assert backbone.feature_dim == feature_dim
    assert backbone.training
    features = backbone.eval()(images(channels))
    assert features.shape == (2, feature_dim)
    assert features.isfinite().all()
    assert (features[0] - features[1]).abs().max() > 0


def test_a_resnet_equals_torchvisions_up_to_the_classifier() -> None:
    reference = models.resnet18().eval()
    backbone = build_backbone("resnet18", in_channels=3, image_size=32, small_images=False, zero_init_residual=False)
    expected_keys = [key for key in reference.state_dict() if not key.startswith("fc.")]
    assert list(backbone.network.state_dict()) == expected_keys
    backbone.network.load_state_dict(reference.state_dict(), strict=False)
    logits = reference.fc(backbone.eval()(images(3)))
    torch.testing.assert_close(logits, reference(images(3)))


def test_convnext_equals_torchvisions_up_to_the_last_linear_layer() -> None:
    reference = models.convnext_tiny().eval()
    backbone = build_backbone("convnext_tiny", in_channels=3, image_size=32)
    expected_keys = [key for key in reference.state_dict() if not key.startswith("classifier.2.")]
    assert list(backbone.network.state_dict()) == expected_keys
    backbone.network.load_state_dict(reference.state_dict(), strict=False)
    logits = reference.classifier[2](backbone.eval()(images(3)))
    torch.testing.assert_close(logits, reference(images(3)))


def test_small_images_keep_their_resolution_in_front_of_the_blocks() -> None:
    small, large = (
        build_backbone("resnet18", in_channels=3, image_size=32, small_images=small, zero_init_residual=False).network
        for small in (True, False)
    )
    for network, kernel, stride, bias, size in ((small, 3, 1, None, 32), (large, 7, 2, None, 8)):
        assert isinstance(network, models.ResNet)
        assert network.conv1.kernel_size == (kernel, kernel)
        assert network.conv1.stride == (stride, stride)
        assert network.conv1.bias is bias
        assert network.maxpool(network.conv1(images(3))).shape == (2, 64, size, size)
    # Only the first convolution's shape differs, so that weights move between the two.
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (small, large)]
    assert {key for key in shapes[0] if shapes[0][key] != shapes[1][key]} == {"conv1.weight"}


@pytest.mark.parametrize("small_images", [True, False])
def test_the_first_convolution_is_initialised_as_torchvision_does(small_images: bool) -> None:
    backbone = build_backbone(
        "resnet18", in_channels=5, image_size=32, small_images=small_images, zero_init_residual=False
    )
    weight = backbone.network.get_parameter("conv1.weight")
    # Kaiming by fan-out: variance 2 / (64 output channels x kernel area).
    expected = math.sqrt(2 / (64 * weight.shape[2] * weight.shape[3]))
    assert weight.std().item() == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("zero", [True, False])
def test_zero_init_residual_zeroes_the_last_norm_of_each_block(zero: bool) -> None:
    backbone = build_backbone("resnet18", in_channels=3, image_size=32, small_images=True, zero_init_residual=zero)
    last_norms = [value for key, value in backbone.network.named_parameters() if key.endswith("bn2.weight")]
    assert len(last_norms) == 8
    assert all((norm == (0 if zero else 1)).all() for norm in last_norms)


class Maps(nn.Module):
    """Returns its images repeated in a shape to test."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, images: Tensor) -> Tensor:
        return images.new_ones(len(images), *self.shape)


def backbone_of(network: nn.Module) -> Backbone:
    return Backbone(network, setting="backbone=mine", in_channels=3, image_size=8)


def test_feature_maps_are_averaged_over_their_positions() -> None:
    backbone = backbone_of(nn.Conv2d(3, 6, 1))
    assert backbone.feature_dim == 6
    view = images(3, size=8)
    maps = backbone.network(view)
    by_hand = torch.stack([maps[:, :, y, x] for y in range(8) for x in range(8)]).sum(0) / 64
    torch.testing.assert_close(backbone(view), by_hand)


@pytest.mark.parametrize("shape", [(), (4, 5), (2, 3, 4, 5)])
def test_features_of_another_shape_are_refused_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as refusal:
        backbone_of(Maps(shape))
    assert str(refusal.value) == (
        "backbone=mine must return a tensor (batch, features) or (batch, channels, height, width), "
        f"but it returned {(1, *shape)}"
    )


def test_features_that_are_no_tensor_are_refused_by_name() -> None:
    class Pair(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    with pytest.raises(InputError, match=r"backbone=mine must return a tensor .* but it returned tuple"):
        backbone_of(Pair())


def test_images_that_the_network_cannot_take_are_refused_in_one_line() -> None:
    with pytest.raises(InputError) as refusal:
        build_backbone("convnext_tiny", in_channels=3, image_size=8)
    message = str(refusal.value)
    assert message.startswith("backbone=convnext_tiny cannot take images of 3x8x8: RuntimeError: ")
    assert "\n" not in message


def test_finding_the_feature_size_leaves_norm_statistics_and_the_mode_alone() -> None:
    norm = nn.BatchNorm2d(3)
    backbone = backbone_of(norm)
    assert backbone.training
    assert norm.training
    assert norm.num_batches_tracked == 0


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"backbone=resnet19 is none of resnet18, resnet34, .*, timm, custom"):
        build_backbone("resnet19", in_channels=3, image_size=32)
