"""Torch's random generators, for networks that draw (drop path): each process draws for its own part of the batch."""

from typing import Any

import torch
from torch import Tensor

from byol_cli.training.ranks import gathered, rank, world_size
from byol_cli.views.counter import Domain, hash64

_OTHERS = "cpu_of_others"


def own_states(device: torch.device) -> dict[str, Any]:
    """Of this process: `cpu`, and a list of one where `device` has a generator of its own."""
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = [torch.cuda.get_rng_state(device)]
    return states


def states_of_all(device: torch.device) -> dict[str, Any]:
    """The first process's, and those of the others in lists by rank; all processes call this at once."""
    first, *others = gathered(own_states(device))
    states: dict[str, Any] = dict(first)
    if others:
        states[_OTHERS] = [theirs["cpu"] for theirs in others]
    if "cuda" in first:
        states["cuda"] = [theirs["cuda"][0] for theirs in (first, *others)]
    return states


def take_states(states: dict[str, Any], device: torch.device, *, seed: int, step: int) -> None:
    """Set this process's generators to its own of `states`; one that had no part in that run begins by its seed.

    Raises:
        RuntimeError: they are no states of generators.
    """
    cpu: list[Tensor] = [states["cpu"], *states.get(_OTHERS, [])]
    if rank() >= len(cpu):
        begin_generators(seed=seed, step=step)
        return
    torch.set_rng_state(cpu[rank()])
    on_device = states.get("cuda", []) if device.type == "cuda" else []
    if rank() < len(on_device):
        torch.cuda.set_rng_state(on_device[rank()], device)


def begin_generators(*, seed: int, step: int) -> None:
    """In the first process they go on from the networks' initialisation; the others get numbers of their own."""
    if world_size() > 1 and rank():
        torch.manual_seed(int(hash64(Domain.GENERATOR, seed, step, rank())))
