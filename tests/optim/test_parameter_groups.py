"""Which parameters decay and adapt, for networks of three families."""

import pytest
import torch
from torch import nn
from torchvision import models

from byol_cli.optim.parameter_groups import parameter_groups


def names_by_group(module: nn.Module) -> tuple[list[str], list[str]]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = parameter_groups(module, weight_decay=0.1, decay_bias_and_norm=False, adapt_bias_and_norm=False)
    weights, bias_and_norm = ([names[id(p)] for p in group["params"]] for group in groups)
    assert sorted(weights + bias_and_norm) == sorted(names.values())
    assert len(set(weights + bias_and_norm)) == len(names)
    return weights, bias_and_norm


def test_resnet18_has_its_convolutions_and_its_linear_weight_in_the_first_group() -> None:
    weights, bias_and_norm = names_by_group(models.resnet18())
    # 1 first convolution, 16 in the blocks, 3 shortcuts, 1 linear layer.
    assert len(weights) == 21
    assert {name.split(".")[-2] for name in weights} == {"conv1", "conv2", "0", "fc"}
    # 20 BatchNorm layers of two parameters and the linear bias.
    assert len(bias_and_norm) == 41
    assert "bn1.weight" in bias_and_norm
    assert "fc.bias" in bias_and_norm


def test_convnext_has_every_layer_norm_in_the_second_group() -> None:
    network = models.convnext_tiny()
    weights, bias_and_norm = names_by_group(network)
    norms = [name for name, module in network.named_modules() if "LayerNorm" in type(module).__name__]
    assert len(norms) == 18 + 1 + 3 + 1
    for norm in norms:
        assert f"{norm}.weight" in bias_and_norm
        assert f"{norm}.bias" in bias_and_norm
    assert all(name.endswith(".bias") or name.rsplit(".", 1)[0] in norms for name in bias_and_norm)
    assert "features.1.0.layer_scale" in weights


def test_a_timm_vit_has_its_norms_and_biases_in_the_second_group() -> None:
    timm = pytest.importorskip("timm")
    weights, bias_and_norm = names_by_group(timm.create_model("vit_tiny_patch16_224", pretrained=False))
    # 12 blocks of four linear layers, patch embedding, position embedding, class token and head.
    assert len(weights) == 12 * 4 + 4
    # 12 blocks of two norms and four biases, the last norm, patch embedding's and the head's bias.
    assert len(bias_and_norm) == 12 * (2 * 2 + 4) + 2 + 2
    assert "blocks.0.norm1.weight" in bias_and_norm
    assert "pos_embed" in weights


def test_a_norm_parameter_of_several_dimensions_is_no_weight() -> None:
    assert names_by_group(nn.LayerNorm((2, 3, 3))) == ([], ["weight", "bias"])


def test_a_norm_whose_own_name_does_not_say_so_is_known_by_its_base() -> None:
    class Scaled(nn.LayerNorm):
        pass

    assert names_by_group(Scaled((2, 3))) == ([], ["weight", "bias"])


def test_a_container_with_norm_in_its_name_does_not_drag_its_convolution_along() -> None:
    class ConvNormActivation(nn.Sequential):
        pass

    weights, bias_and_norm = names_by_group(ConvNormActivation(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    assert weights == ["0.weight"]
    assert bias_and_norm == ["0.bias", "1.weight", "1.bias"]


def test_a_scalar_parameter_counts_as_a_bias() -> None:
    module = nn.Linear(2, 2)
    module.temperature = nn.Parameter(torch.tensor(1.0))
    assert names_by_group(module) == (["weight"], ["bias", "temperature"])


def test_a_shared_parameter_is_in_one_group_once() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    weights, bias_and_norm = names_by_group(nn.Sequential(first, second))
    assert weights == ["0.weight"]
    assert bias_and_norm == ["0.bias", "1.bias"]


@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize("adapt", [True, False])
def test_biases_and_norms_decay_and_adapt_only_if_asked(decay: bool, adapt: bool) -> None:
    first, second = parameter_groups(
        nn.Linear(2, 2), weight_decay=0.3, decay_bias_and_norm=decay, adapt_bias_and_norm=adapt
    )
    assert (first["weight_decay"], first["adapt"]) == (0.3, True)
    assert (second["weight_decay"], second["adapt"]) == (0.3 if decay else 0.0, adapt)
