"""How long, how large, on what: everything about a run that is neither data nor method."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from byol_cli.schema.constraints import Count, Factor, NumWorkers, Probability, Range, Temperature
from byol_cli.schema.errors import InputError

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_checkpoint(path: str) -> None:
    """Raises InputError where none is named."""
    if not path:
        raise InputError("checkpoint= has no value; name a run folder or a checkpoint file")


def check_device(name: str) -> None:
    """Refuse what is no device's name; raises InputError."""
    if not _DEVICE.fullmatch(name):
        raise InputError(f"device={name} must be one of auto, cpu, cuda, cuda:N, mps")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """`batch_size` is the number of images per optimiser step, split over `accumulation_steps` forward passes.

    `steps` stands in place of `epochs` where it is given. Durations are in optimiser steps, epochs or minutes.
    """

    epochs: Count
    steps: Count | None
    batch_size: Count
    accumulation_steps: Count
    device: str
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    channels_last: bool
    compile: bool
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"]
    clip_grad_norm: Factor | None
    deterministic: bool
    plan: bool
    price_per_hour: Factor | None
    sync_batchnorm: bool
    gradient_compression: Literal["none", "bf16", "fp16", "powersgd"]
    compare_ranks_every_steps: Count
    num_workers: NumWorkers | None
    worker_timeout_seconds: Annotated[float, Range(low=1, cap=10**6)]
    log_every_steps: Count
    gauges_every_steps: Count
    probe_every_epochs: Count
    probe_max_images: Count
    probe_neighbors: Count
    probe_temperature: Temperature
    checkpoint_every_steps: Count | None
    checkpoint_every_minutes: Annotated[float, Range(low=0, low_open=True, cap=10**6)]
    keep_last: Count
    keep_every: Count | None
    max_failed_saves: Count
    on_collapse: Literal["warn", "stop"]
    stop_early: Literal["none", "median"]
    stop_early_after: Probability
    stop_early_runs: Count
    recorders: list[Literal["wandb", "mlflow"]]
    on_nonfinite: Literal["stop", "skip", "rollback"]
    max_nonfinite: Count

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.batch_size % self.accumulation_steps:
            raise InputError(
                f"accumulation_steps={self.accumulation_steps} must divide batch_size={self.batch_size} evenly"
            )
        if self.compile and self.compile_mode != "default" and self.accumulation_steps > 1:
            raise InputError(
                f"compile_mode={self.compile_mode} records CUDA graphs, which overwrite the gradients that "
                f"accumulation_steps={self.accumulation_steps} adds up; take compile_mode=default"
            )
        if self.batch_size // self.accumulation_steps < 2:
            raise InputError(
                f"batch_size={self.batch_size} over accumulation_steps={self.accumulation_steps} "
                "leaves fewer than 2 images a forward pass; BatchNorm needs at least 2"
            )
