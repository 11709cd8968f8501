"""The optimizers by name. `lr` is the learning rate before any schedule; the training loop sets it at each step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from byol_cli.optim.lars import LARS
from byol_cli.optim.parameter_groups import parameter_groups
from byol_cli.schema.errors import InputError

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "lars": LARS,
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def build_optimizer(
    name: str, module: nn.Module, *, lr: float, weight_decay: float, decay_bias_and_norm: bool, **options: Any
) -> Optimizer:
    """The optimizer `name` of OPTIMIZERS for the parameters of `module`; `options` are that optimizer's own.

    lars: momentum, trust_coefficient, adapt_bias_and_norm. sgd: momentum, nesterov. adam and adamw: betas, eps.
    Raises InputError for an unknown name.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"optimizer={name} is none of {', '.join(OPTIMIZERS)}")
    # Only LARS looks at a group's `adapt`.
    adapt_bias_and_norm = options.pop("adapt_bias_and_norm") if name == "lars" else False
    groups = parameter_groups(
        module,
        weight_decay=weight_decay,
        decay_bias_and_norm=decay_bias_and_norm,
        adapt_bias_and_norm=adapt_bias_and_norm,
    )
    return OPTIMIZERS[name](groups, lr=lr, weight_decay=weight_decay, **options)
