"""The online and the target network: what moves, what does not, and on which statistics."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from byol_cli.model.backbones import Backbone, build_backbone
from byol_cli.model.byol import OnlineNetwork, TargetNetwork, build_networks
from byol_cli.schema.errors import InputError


def make_backbone() -> Backbone:
    return build_backbone(
        "resnet_small", in_channels=1, image_size=8, widths=[4, 6], blocks=[1, 1], zero_init_residual=False
    )


def networks(with_predictor: bool = True, seed: int = 0) -> tuple[OnlineNetwork, TargetNetwork]:
    torch.manual_seed(seed)
    return build_networks(make_backbone, hidden_dim=12, output_dim=5, with_predictor=with_predictor)


def view(seed: int) -> Tensor:
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_the_online_network_predicts_and_the_target_only_projects() -> None:
    online, target = networks()
    assert [name for name, _ in online.named_children()] == ["backbone", "projector", "predictor"]
    assert [name for name, _ in target.named_children()] == ["backbone", "projector"]
    view1, view2 = view(1), view(2)
    alone: Any = copy.deepcopy(online)
    expected = alone.predictor(alone.projector(alone.backbone(view1)))
    assert torch.equal(online(view1, view2)[0], expected)
    alone = copy.deepcopy(target)
    expected = alone.projector(alone.backbone(view2))
    assert torch.equal(target(view1, view2)[1], expected)
    assert target(view1, view2)[0].shape == (6, 5)


def test_without_a_predictor_the_predictions_are_the_projections() -> None:
    online, _ = networks(with_predictor=False)
    assert not any(name.startswith("predictor") for name in online.state_dict())
    alone = copy.deepcopy(online)
    expected = alone.projector(alone.backbone(view(1)))
    assert torch.equal(online(view(1), view(2))[0], expected)


@pytest.mark.parametrize("which", [0, 1])
def test_view_2_has_no_influence_on_what_view_1_gives(which: int) -> None:
    first, second = networks()[which], networks()[which]
    # In train mode statistics of a joint batch would mix the views.
    one, other = first(view(1), view(2)), second(view(1), 100 * view(3))
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize("which", [0, 1])
def test_batch_norm_takes_its_statistics_from_each_view_in_turn(which: int) -> None:
    network = networks()[which]
    stem: Any = network.backbone.network
    stems = [stem.conv1(v) for v in (view(1), 3 * view(2))]
    network(view(1), 3 * view(2))
    mean, variance = torch.zeros(4), torch.ones(4)
    for maps in stems:
        mean = 0.9 * mean + 0.1 * maps.mean(dim=(0, 2, 3))
        variance = 0.9 * variance + 0.1 * maps.var(dim=(0, 2, 3), correction=1)
    torch.testing.assert_close(stem.bn1.running_mean, mean)
    torch.testing.assert_close(stem.bn1.running_var, variance)
    assert stem.bn1.num_batches_tracked == 2


def test_the_target_takes_no_gradient() -> None:
    online, target = networks()
    predictions, projections = online(view(1), view(2)), target(view(1), view(2))
    assert not any(projection.requires_grad for projection in projections)
    sum((q * z).sum() for q, z in zip(predictions, projections, strict=True)).backward()
    assert all(parameter.grad is not None for parameter in online.parameters())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in target.parameters())


def test_online_and_target_start_differently_and_the_seed_decides_both() -> None:
    online, target = networks()
    of_online = dict(online.named_parameters())
    weights = {name: value for name, value in target.named_parameters() if value.dim() > 1}
    assert len(weights) == 6 + 2
    for name, value in weights.items():
        assert not torch.equal(value, of_online[name]), name
    again = networks()
    for first, second in zip((online, target), again, strict=True):
        for name, value in first.state_dict().items():
            assert torch.equal(value, second.state_dict()[name])


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.97, 0.9999, 1.0])
def test_the_target_moves_to_the_weighted_mean(tau: float) -> None:
    online, target = networks()
    before = {name: value.detach().double() for name, value in target.named_parameters()}
    of_online = {name: value.detach().double() for name, value in online.named_parameters()}
    target.move_towards(online, tau)
    for name, value in target.named_parameters():
        expected = tau * before[name] + (1 - tau) * of_online[name]
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
        if tau in (0.0, 1.0):
            assert torch.equal(value, expected.float())
        assert not value.requires_grad
    for name, value in online.named_parameters():
        assert torch.equal(value.double(), of_online[name])


def test_buffers_are_the_targets_own() -> None:
    online, target = networks()
    online(view(1), view(2))
    target(5 * view(3), 5 * view(4))
    before = {name: value.clone() for name, value in target.named_buffers()}
    target.move_towards(online, 0.5)
    of_online = dict(online.named_buffers())
    for name, value in target.named_buffers():
        assert torch.equal(value, before[name])
        if "running" in name:
            assert not torch.equal(value, of_online[name])


def test_a_factory_that_returns_the_same_module_twice_is_refused() -> None:
    backbone = make_backbone()
    with pytest.raises(InputError, match="backbone=resnet_small must make a new module each time"):
        build_networks(lambda: backbone, hidden_dim=4, output_dim=3, with_predictor=True)
