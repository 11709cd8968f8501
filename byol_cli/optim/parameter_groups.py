"""Which parameters take weight decay and LARS's adaptation: the weights, and biases and norm parameters if asked to."""

from typing import Any

from torch import nn


def parameter_groups(
    module: nn.Module, *, weight_decay: float, decay_bias_and_norm: bool, adapt_bias_and_norm: bool
) -> list[dict[str, Any]]:
    """Two groups for an optimizer, in the order of the module: the weights, then biases and norm parameters.

    Norm parameters are those of any module whose class, or a base of it, has "Norm" in its name (PyTorch's, timm's);
    every parameter of at most one dimension counts as a bias. Each parameter is in exactly one group.
    In BYOL biases and norm parameters take neither decay nor adaptation (paper section 3.3).
    """
    weights: list[nn.Parameter] = []
    bias_and_norm: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    for layer in module.modules():
        for parameter in layer.parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                is_weight = parameter.dim() > 1 and not _is_norm(layer)
                (weights if is_weight else bias_and_norm).append(parameter)
    return [
        {"params": weights, "weight_decay": weight_decay, "adapt": True},
        {
            "params": bias_and_norm,
            "weight_decay": weight_decay if decay_bias_and_norm else 0.0,
            "adapt": adapt_bias_and_norm,
        },
    ]


def _is_norm(layer: nn.Module) -> bool:
    return any("Norm" in base.__name__ for base in type(layer).__mro__)
