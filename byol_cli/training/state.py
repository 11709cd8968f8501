"""What training changes, and how it is put into a checkpoint and taken out again."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
import torchvision

import byol_cli
from byol_cli.model.backbones import Backbone
from byol_cli.model.byol import OnlineNetwork, TargetNetwork, build_networks
from byol_cli.optim.build import build_optimizer
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import option_fields
from byol_cli.training.runtime import Runtime


@dataclass
class TrainingState:
    """`step` optimiser steps have been taken."""

    step: int
    online: OnlineNetwork
    target: TargetNetwork
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler

    def tensors(self) -> dict[str, Any]:
        """The part of a checkpoint that goes on changing: counters, weights, optimiser, scaler and generator states."""
        generators: dict[str, Any] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            generators["cuda"] = torch.cuda.get_rng_state_all()
        return {
            "step": self.step,
            "online": self.online.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": generators,
        }

    def restore(self, checkpoint: dict[str, Any], *, source: str) -> None:
        """Take up the state that `tensors` gave.

        Raises:
            InputError: the checkpoint is of another architecture.
        """
        try:
            self.online.load_state_dict(checkpoint["online"])
            self.target.load_state_dict(checkpoint["target"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{source} is of another architecture: {reason[:300]}") from None
        self.scaler.load_state_dict(checkpoint["scaler"])
        torch.set_rng_state(checkpoint["rng"]["cpu"])
        if torch.cuda.is_available() and "cuda" in checkpoint["rng"]:
            torch.cuda.set_rng_state_all(checkpoint["rng"]["cuda"][: torch.cuda.device_count()])
        self.step = checkpoint["step"]


def build_state(config: TrainConfig, make_backbone: Callable[[], Backbone], runtime: Runtime) -> TrainingState:
    """Networks initialised from the run's seed, and their optimiser, on the run's device."""
    torch.manual_seed(config.seed)
    online, target = build_networks(
        make_backbone,
        hidden_dim=config.head.hidden_dim,
        output_dim=config.head.output_dim,
        with_predictor=config.head.predictor,
    )
    layout = torch.channels_last if config.trainer.channels_last else torch.contiguous_format
    online.to(runtime.device, memory_format=layout)  # type: ignore[call-overload]
    target.to(runtime.device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = build_optimizer(module=online, **option_fields(config.optimizer, without=SCHEDULE_FIELDS))
    return TrainingState(step=0, online=online, target=target, optimizer=optimizer, scaler=runtime.grad_scaler())


SCHEDULE_FIELDS = ("scale_lr", "schedule", "warmup_epochs", "warmup_fraction")


def versions() -> dict[str, str]:
    """What the bits of a run depend on besides its configuration."""
    return {
        "byol_cli": byol_cli.__version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "threads": str(torch.get_num_threads()),
    }
