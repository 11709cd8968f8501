"""`trainer.plan=true`: what a run would take (memory, steps, time, money), by trying out a few parts of a step."""

import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from byol_cli.losses import symmetric_loss
from byol_cli.training.distributed import data_parallel
from byol_cli.training.memory import is_out_of_memory, remedy
from byol_cli.training.pretrain import batches_of
from byol_cli.training.ranks import world_size
from byol_cli.training.setup import Run

TRIED_ON_CPU = 32  # images at most; what more of them take follows in proportion
TRIALS = 3  # timed, after one that is not


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one process, in bytes and seconds.

    Attributes:
        weights: of both networks.
        gradients: of the online network, as they are sent between processes once a step.
        optimizer: what it remembers.
        activations: kept from the forward to the backward pass of one part of the batch.
        views: of that part.
        compute: of a step, without waiting for images.
        images: that one step needs, made ready by the workers that there are.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    views: int
    compute: float
    images: float

    @property
    def memory(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.views

    def step_seconds(self, *, beside: bool) -> float:
        """Of a step; `beside`: images are made ready while the step before is computed."""
        return max(self.compute, self.images) if beside else self.compute + self.images


def estimate(run: Run) -> Estimate:
    """Try out a part of a step on `run`, whose networks are of no further use then."""
    trainer, state = run.config.trainer, run.state
    micro = run.micro_batch_size
    tried = micro if run.runtime.on_gpu else max(2, min(TRIED_ON_CPU, micro))
    scale = micro / tried
    shape = (tried, run.splits.channels, run.views.image_size, run.views.image_size)
    view1, view2 = (torch.randn(shape, device=run.runtime.device) for _ in range(2))
    online = data_parallel(state.online, compression=trainer.gradient_compression).train()
    state.target.train()
    kept: dict[int, int] = {}  # bytes by storage

    def forward_and_backward() -> None:
        with saved_tensors_hooks(lambda tensor: _note(kept, tensor), lambda tensor: tensor), run.runtime.autocast():
            predictions, targets = online(view1, view2), state.target(view1, view2)
        symmetric_loss(run.loss, predictions, targets).backward()

    def update() -> None:
        state.optimizer.step()
        state.target.move_towards(state.online, 0.99)

    parts = seconds(forward_and_backward, run.runtime.device)
    own = {tensor.untyped_storage().data_ptr() for tensor in state.changing_tensors()}
    activations = sum(size for storage, size in kept.items() if storage not in own)
    compute = parts * scale * trainer.accumulation_steps + seconds(update, run.runtime.device)
    return Estimate(
        weights=_bytes([*state.online.state_dict().values(), *state.target.state_dict().values()]),
        gradients=_bytes(list(state.online.parameters())),
        optimizer=_bytes(state.changing_tensors()) - _bytes([*_values(state.online), *_values(state.target)]),
        activations=round(activations * scale),
        views=round(_bytes([view1, view2]) * scale),
        compute=compute,
        images=seconds_for_images(run, tried) * scale * trainer.accumulation_steps,
    )


def seconds_for_images(run: Run, count: int) -> float:
    """What it takes to have views of `count` images, once the workers are at work."""
    many = 10**9
    batches = batches_of(run, batch_size=count * world_size(), accumulation_steps=1, start_step=0, total_steps=many)
    with closing(batches):
        return seconds(lambda: next(batches), run.runtime.device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """The median of some trials, in seconds."""
    taken = []
    for _ in range(1 + TRIALS):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def plan_of(run: Run, *, price_per_hour: float | None) -> dict[str, str]:
    """What the run would take, in words, by name."""
    device, trainer = run.runtime.device, run.config.trainer
    try:
        found = estimate(run)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return {"memory": f"more than this machine has: {remedy(trainer)}"}
    step = found.step_seconds(beside=run.num_workers > 0)
    steps = run.plan.total_steps - run.state.step
    hours = steps * step / 3600
    slower = "images" if found.images > found.compute else "computing"
    lines = {
        "memory": f"{_size(found.memory)} a process: weights {_size(found.weights)}, gradients "
        f"{_size(found.gradients)}, optimiser {_size(found.optimizer)}, activations {_size(found.activations)}, "
        f"views {_size(found.views)}",
        "checkpoint": f"{_size(found.weights + found.optimizer)}, {trainer.keep_last} kept",
        "step": f"{step:.3g} s ({slower} takes longest: computing {found.compute:.3g} s, images {found.images:.3g} s), "
        f"{trainer.batch_size / step:,.0f} images/s",
        "time": f"{_duration(hours)} for {steps:,} steps on {world_size()} x {run.runtime}, without measurements",
    }
    if device.type == "cuda":
        lines["memory"] += f"; {_size(torch.cuda.max_memory_allocated(device))} were in use, of "
        lines["memory"] += _size(torch.cuda.get_device_properties(device).total_memory)
    if price_per_hour is not None:
        cost = hours * price_per_hour * world_size()
        lines["cost"] = f"{cost:,.2f} at {price_per_hour:g} an hour for each of {world_size()}"
    return lines


def _note(kept: dict[int, int], tensor: Tensor) -> Tensor:
    storage = tensor.untyped_storage()
    kept[storage.data_ptr()] = storage.nbytes()
    return tensor


def _values(network: torch.nn.Module) -> Iterable[Tensor]:
    return network.state_dict().values()


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _size(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.2f} MB"


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.1f} days"
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
