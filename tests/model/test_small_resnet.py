"""The small ResNet against torchvision's, whose layers it has under other names."""

import math

import pytest
import torch
from torchvision import models

from byol_cli.model.small_resnet import BasicBlock, SmallResNet


def small_resnet(widths: list[int], blocks: list[int], zero_init_residual: bool = False) -> SmallResNet:
    return SmallResNet(in_channels=3, widths=widths, blocks=blocks, zero_init_residual=zero_init_residual)


def test_with_resnet18s_widths_and_blocks_it_computes_what_torchvisions_resnet18_does() -> None:
    network = small_resnet([64, 128, 256, 512], [2, 2, 2, 2]).eval()
    reference = models.resnet18().eval()
    reference.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    reference.maxpool = torch.nn.Identity()
    reference.fc = torch.nn.Identity()
    # Both list conv1, bn1, then each block's conv1, bn1, conv2, bn2 and shortcut.
    theirs, ours = reference.state_dict(), network.state_dict()
    assert len(theirs) == len(ours)
    reference.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    view = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network(view), reference(view))


@pytest.mark.parametrize("size", [8, 9])
def test_every_stage_but_the_first_halves_the_resolution(size: int) -> None:
    network = small_resnet([4, 6, 8], [2, 1, 3])
    maps = network.conv1(torch.zeros(2, 3, size, size))
    shapes = [tuple((maps := block(maps)).shape[1:]) for block in network.stages]
    half, quarter = math.ceil(size / 2), math.ceil(size / 4)
    assert shapes == [(4, size, size)] * 2 + [(6, half, half)] + [(8, quarter, quarter)] * 3


def test_weights_start_by_kaiming_fan_out() -> None:
    weight = small_resnet([64], [1]).get_parameter("stages.0_0.conv2.weight")
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.03)
    assert weight.mean().item() == pytest.approx(0, abs=1e-3)


def test_with_zero_init_residual_every_block_starts_as_its_shortcut() -> None:
    network = small_resnet([4, 6], [2, 2], zero_init_residual=True)
    maps = torch.rand(2, 4, 8, 8)
    for block in network.stages:
        assert isinstance(block, BasicBlock)
        assert (block.bn1.weight == 1).all()
        assert (block.bn2.weight == 0).all()
        expected = block.shortcut(maps).relu()
        maps = block(maps)
        torch.testing.assert_close(maps, expected)
