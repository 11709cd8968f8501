"""How tensors get from the CPU to where they are used."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; CUDA is not waited for.

    CUDA takes what it copies before the call returns, or holds on to it where it is pinned. Apple's MPS may read later,
    when the memory of a temporary tensor already holds something else, and so is waited for.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")
