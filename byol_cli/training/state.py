"""What training changes, and how it is put into a checkpoint and taken out again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from byol_cli.model.backbones import Backbone, build_backbone
from byol_cli.model.byol import OnlineNetwork, TargetNetwork, build_networks
from byol_cli.model.sync_batchnorm import synchronise
from byol_cli.optim.build import OPTIMIZERS, build_optimizer
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import option_fields
from byol_cli.schema.trainer import TrainerConfig
from byol_cli.training.claims import STORAGE_TYPES
from byol_cli.training.generators import begin_generators, own_states, states_of_all, take_states
from byol_cli.training.ranks import world_size
from byol_cli.training.runtime import Runtime

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class TrainingState:
    """`step` optimiser steps have been taken."""

    step: int
    online: OnlineNetwork
    target: TargetNetwork
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    seed: int
    generators_of_all: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """That the networks are on."""
        return next(self.online.parameters()).device

    def tensors(self) -> dict[str, Any]:
        """The part of a checkpoint that goes on changing: counters, weights, optimiser, scaler and generator states."""
        return {
            "step": self.step,
            "online": self.online.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": self.generators_of_all or own_states(self.device),
        }

    def about_to_save(self) -> None:
        """What the first process needs of the others for a checkpoint; all of them call this."""
        self.generators_of_all = states_of_all(self.device)

    def changing_tensors(self) -> list[Tensor]:
        """Weights and buffers of both networks, and what the optimiser remembers."""
        remembered = [value for entry in self.optimizer.state.values() for value in entry.values()]
        return [
            *self.online.state_dict().values(),
            *self.target.state_dict().values(),
            *(value for value in remembered if isinstance(value, Tensor)),
        ]

    def restore(self, checkpoint: dict[str, Any], *, source: str, say: Callable[[str], None]) -> None:
        """Take up the state that `tensors` gave, read from the file `source`; `say` as in `restore_weights`.

        Raises:
            InputError: the checkpoint is of another architecture.
        """
        self.restore_weights(checkpoint, source=source, say=say)
        try:
            take_states(checkpoint["rng"], self.device, seed=self.seed, step=checkpoint["step"])
        except RuntimeError as error:
            raise InputError(f"{source} holds no state of torch's random generators: {_one_line(error)}") from None
        self.step = checkpoint["step"]

    def restore_weights(self, checkpoint: dict[str, Any], *, source: str, say: Callable[[str], None]) -> None:
        """Take up networks, optimiser and scaler alone: the place in the data and in the schedules stays.

        The optimiser's settings stay those of the configuration. What another optimiser remembers is of no use to this
        one, which begins anew then; `say` is told.

        Raises:
            InputError: the checkpoint is of another architecture.
        """
        try:
            self.online.load_state_dict(checkpoint["online"])
            self.target.load_state_dict(checkpoint["target"])
            if self.scaler.is_enabled() and checkpoint["scaler"]:  # else one of the two is not of fp16
                self.scaler.load_state_dict(checkpoint["scaler"])
        except (RuntimeError, KeyError) as error:
            raise InputError(f"{source} is of another architecture: {_one_line(error)}") from None
        name = checkpoint["config"]["optimizer"]["name"]
        if type(self.optimizer) is OPTIMIZERS[name]:
            self._restore_optimizer(checkpoint["optimizer"], source=source)
        else:
            self.optimizer.state.clear()
            say(f"warning: the optimiser begins anew: {source} holds what {name} remembers")

    def _restore_optimizer(self, remembers: dict[str, Any], *, source: str) -> None:
        settings = [{**group} for group in self.optimizer.param_groups]
        try:
            self.optimizer.load_state_dict(remembers)
        except (ValueError, KeyError) as error:
            raise InputError(f"{source} is of another architecture: {_one_line(error)}") from None
        for group, setting in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(setting)
        for parameter, remembered in self.optimizer.state.items():
            for name, value in remembered.items():
                if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                    raise InputError(
                        f"{source}: the optimiser's {name} of shape {tuple(value.shape)} belongs to no "
                        f"parameter of shape {tuple(parameter.shape)}"
                    )


def build_state(config: TrainConfig, make_backbone: Callable[[], Backbone], runtime: Runtime) -> TrainingState:
    """Networks initialised from the run's seed, and their optimiser, on the run's device."""
    torch.manual_seed(config.seed)
    online, target = networks_of(config, make_backbone)
    refuse_what_cannot_be_saved(online)
    if config.trainer.sync_batchnorm and world_size() > 1:
        synchronise(online, device=runtime.device)
        synchronise(target, device=runtime.device)
    online = placed(online, config.trainer, device=runtime.device)
    target = placed(target, config.trainer, device=runtime.device)
    optimizer = build_optimizer(module=online, **option_fields(config.optimizer, without=SCHEDULE_FIELDS))
    begin_generators(seed=config.seed, step=0)
    return TrainingState(
        step=0, online=online, target=target, optimizer=optimizer, scaler=runtime.grad_scaler(), seed=config.seed
    )


def placed(network: Network, trainer: TrainerConfig, *, device: torch.device) -> Network:
    """`network` on `device`, its weights in the memory format of the run, on which the last bits of features depend."""
    layout = torch.channels_last if trainer.channels_last else torch.contiguous_format
    return network.to(device, memory_format=layout)  # type: ignore[call-overload]


def backbone_maker(config: TrainConfig, *, in_channels: int) -> Callable[[], Backbone]:
    """Makes the configuration's backbone, with new random weights each time; given weights are not loaded."""
    return partial(
        build_backbone,
        in_channels=in_channels,
        image_size=config.augmentation.image_size,
        **option_fields(config.backbone, without=("weights",)),
    )


def networks_of(config: TrainConfig, make_backbone: Callable[[], Backbone]) -> tuple[OnlineNetwork, TargetNetwork]:
    """The configuration's online and target network."""
    return build_networks(
        make_backbone,
        hidden_dim=config.head.hidden_dim,
        output_dim=config.head.output_dim,
        with_predictor=config.head.predictor,
    )


def refuse_what_cannot_be_saved(online: OnlineNetwork) -> None:
    """Checkpoints hold tensors of the usual types alone; raises InputError for a backbone with other state."""
    for name, value in online.state_dict().items():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        if kind not in STORAGE_TYPES.values():
            raise InputError(
                f"{online.backbone.setting}: its state {name} is {kind}, which no checkpoint here can hold"
            )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


SCHEDULE_FIELDS = ("scale_lr", "schedule", "warmup_epochs", "warmup_fraction")
