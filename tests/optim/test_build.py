"""Optimizers by name."""

from typing import Any

import pytest
import torch
from torch import nn

from byol_cli.optim.build import OPTIMIZERS, build_optimizer
from byol_cli.optim.lars import LARS
from byol_cli.schema.errors import InputError
from byol_cli.schema.optimizer import OPTIMIZERS as SCHEMAS

OPTIONS: dict[str, dict[str, Any]] = {
    "lars": {"momentum": 0.8, "trust_coefficient": 0.01, "adapt_bias_and_norm": False},
    "sgd": {"momentum": 0.8, "nesterov": True},
    "adam": {"betas": (0.8, 0.95), "eps": 1e-7},
    "adamw": {"betas": (0.8, 0.95), "eps": 1e-7},
}
CLASSES = {"lars": LARS, "sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def test_the_table_has_the_schemas_names() -> None:
    assert list(OPTIMIZERS) == list(SCHEMAS)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_reaches_the_optimizer(name: str) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    optimizer = build_optimizer(name, module, lr=0.3, weight_decay=0.2, decay_bias_and_norm=False, **OPTIONS[name])
    assert type(optimizer) is CLASSES[name]
    weights, bias_and_norm = optimizer.param_groups
    assert weights["params"] == [module[0].weight]
    assert len(bias_and_norm["params"]) == 3
    assert (weights["weight_decay"], bias_and_norm["weight_decay"]) == (0.2, 0.0)
    for group in (weights, bias_and_norm):
        assert group["lr"] == 0.3
        for option, value in OPTIONS[name].items():
            if option != "adapt_bias_and_norm":
                assert group[option] == value
    if name == "lars":
        assert (weights["adapt"], bias_and_norm["adapt"]) == (True, False)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_optimizer_steps(name: str) -> None:
    module = nn.Linear(3, 3)
    before = module.weight.detach().clone()
    optimizer = build_optimizer(name, module, lr=0.3, weight_decay=0.2, decay_bias_and_norm=True, **OPTIONS[name])
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, module.weight)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="optimizer=lamb is none of lars, sgd, adam, adamw"):
        build_optimizer("lamb", nn.Linear(2, 2), lr=1, weight_decay=0, decay_bias_and_norm=False)
