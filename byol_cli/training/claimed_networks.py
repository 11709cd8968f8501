"""Whether the tensors that a checkpoint claims are those of the networks in its configuration.

The networks are built without memory (on torch's meta device), from parts of this package and of timm alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from byol_cli.model.byol import OnlineNetwork, TargetNetwork
from byol_cli.model.refusal import refusing
from byol_cli.optim.parameter_groups import parameter_groups
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.model import CustomConfig, SmallResNetConfig
from byol_cli.training.claims import TensorClaim
from byol_cli.training.state import backbone_maker, networks_of

_SHOWN = 3


def check_networks(skeleton: dict[str, Any], config: TrainConfig) -> None:
    """Compare names, shapes and number formats of the weights, and the shapes of what the optimiser remembers.

    Not for a backbone that is code of its own: it is not imported before it is named on the command line.

    Raises:
        InputError: the networks cannot be built, or are others than the checkpoint's.
    """
    if isinstance(config.backbone, CustomConfig):
        return
    if isinstance(config.backbone, SmallResNetConfig) and sum(config.backbone.blocks) > len(skeleton["online"]):
        raise InputError("its config asks for more blocks than there are weights for")
    online, target = _networks(config, in_channels=skeleton["channels"])
    for name, network in (("online", online), ("target", target)):
        differences = differences_in_words(skeleton[name], claims_of(network))
        if differences:
            raise InputError(f"its {name} network is not that of its config: {differences}")
    _check_optimizer(skeleton["optimizer"], online)


def _networks(config: TrainConfig, *, in_channels: int) -> tuple[OnlineNetwork, TargetNetwork]:
    with (
        torch.device("meta"),
        torch.random.fork_rng(devices=[]),
        refusing("the networks of its config cannot be built"),
    ):
        return networks_of(config, backbone_maker(config, in_channels=in_channels))


def claims_of(network: nn.Module) -> dict[str, TensorClaim]:
    """What a checkpoint of it would claim."""
    return {name: TensorClaim(value.dtype, tuple(value.shape)) for name, value in network.state_dict().items()}


def differences_in_words(found: Mapping[str, TensorClaim], expected: Mapping[str, TensorClaim]) -> str:
    """Which weights are missing, which are too many, and which are others; empty where they are the same."""
    lists = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another form": [
            f"{name} ({_described(found[name])} instead of {_described(claim)})"
            for name, claim in expected.items()
            if name in found and found[name] != claim
        ],
    }
    return "; ".join(f"{kind}: {_few(names)}" for kind, names in lists.items() if names)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _described(claim: TensorClaim) -> str:
    return f"{claim.dtype} of shape {claim.shape}"


def _check_optimizer(claimed: dict[str, Any], online: OnlineNetwork) -> None:
    groups = [
        group["params"]
        for group in parameter_groups(online, weight_decay=0, decay_bias_and_norm=False, adapt_bias_and_norm=False)
    ]
    if [len(group["params"]) for group in claimed["param_groups"]] != [len(group) for group in groups]:
        raise InputError("its optimizer is of other parameters than its networks have")
    parameters = [parameter for group in groups for parameter in group]
    for number, entries in claimed["state"].items():
        for name, value in entries.items():
            if isinstance(value, TensorClaim) and value.shape not in ((), tuple(parameters[number].shape)):
                raise InputError(f"its optimizer's {name} of shape {value.shape} belongs to no such parameter")
