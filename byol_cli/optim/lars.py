"""LARS (You et al. 2017) with the arithmetic of DeepMind's BYOL code."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Tensors = list[Tensor] | tuple[Tensor, ...]


class LARS(Optimizer):
    """SGD with momentum whose step for each weight follows that weight's own norm, for large batches.

    In this order, for each parameter p (eta is `trust_coefficient`):

        g = gradient + weight_decay p
        u = g eta ||p|| / ||g||       in groups with `adapt`; the ratio is 1 where either norm is 0
        m = momentum m + u
        p = p - lr m

    The norm is that of the decayed gradient. No step waits for the device.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        trust_coefficient: float,
    ) -> None:
        """Each group of `params` may set any of these options for itself, and `adapt` (true where it does not)."""
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not parameters:
            return
        updates: Tensors = [parameter.grad for parameter in parameters]
        if group["weight_decay"] != 0:
            updates = torch._foreach_add(updates, parameters, alpha=group["weight_decay"])
        if group["adapt"]:
            updates = torch._foreach_mul(updates, _trust_ratios(parameters, updates, group["trust_coefficient"]))
        momenta = [self._momentum_of(parameter) for parameter in parameters]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, updates)
        torch._foreach_add_(parameters, momenta, alpha=-group["lr"])

    def _momentum_of(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def _trust_ratios(parameters: Tensors, gradients: Tensors, trust_coefficient: float) -> Tensors:
    """One scalar a parameter: trust_coefficient ||p|| / ||g||, or 1 where either norm is 0."""
    norms = torch.stack(torch._foreach_norm([*parameters, *gradients]))
    parameter_norms, gradient_norms = norms.chunk(2)
    ratios = trust_coefficient * parameter_norms / gradient_norms
    return torch.where((parameter_norms > 0) & (gradient_norms > 0), ratios, 1.0).unbind()
