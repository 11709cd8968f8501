"""Projector and predictor against the paper's description and the arithmetic written out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from byol_cli.model.heads import predictor, projector


@pytest.mark.parametrize("head", [projector, predictor])
def test_a_head_is_linear_norm_relu_and_linear_without_bias(head: Callable[..., nn.Sequential]) -> None:
    module: Any = head(6, 10, 4)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    assert shapes == {
        "hidden.weight": (10, 6),
        "hidden.bias": (10,),
        "norm.weight": (10,),
        "norm.bias": (10,),
        "output.weight": (4, 10),
    }
    features = torch.randn(8, 6)
    hidden = features @ module.hidden.weight.T + module.hidden.bias
    normed = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(module(features), normed.clamp(min=0) @ module.output.weight.T)
    torch.testing.assert_close(module.norm.running_mean, 0.1 * hidden.mean(0))
