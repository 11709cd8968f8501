"""Learning rate and tau at each step: pure functions in plain floats (paper section 3.3).

`step` counts optimizer steps from 0; the last of a run is `total_steps - 1`.
"""

import math
from typing import Literal

Schedule = Literal["cosine", "constant"]


def scaled_learning_rate(lr: float, *, batch_size: int, scale: Literal["linear", "none"]) -> float:
    """With "linear", `lr` is for 256 images and grows with the global batch: lr x batch_size / 256."""
    return lr * batch_size / 256 if scale == "linear" else lr


def warmup_steps(
    *, total_steps: int, steps_per_epoch: int, warmup_epochs: float | None, warmup_fraction: float | None
) -> int:
    """The warm-up's length in whole steps, from epochs or from a fraction of the run; the other one is None."""
    return round((warmup_epochs or 0) * steps_per_epoch + (warmup_fraction or 0) * total_steps)


def learning_rate(step: int, *, peak: float, warmup_steps: int, total_steps: int, schedule: Schedule) -> float:
    """A straight rise from 0 at step 0 to `peak` at step `warmup_steps`, then a cosine to 0 at `total_steps`.

    With "constant" it stays at `peak` after the rise.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    if schedule == "constant":
        return peak
    return peak * _cosine((step - warmup_steps) / (total_steps - warmup_steps))


def tau(step: int, *, base_tau: float, total_steps: int, schedule: Schedule) -> float:
    """1 - (1 - base_tau) (cos(pi step / total_steps) + 1) / 2: from `base_tau` at step 0 to 1 at `total_steps`.

    With "constant" it stays at `base_tau`.
    """
    return base_tau if schedule == "constant" else 1 - (1 - base_tau) * _cosine(step / total_steps)


def scaled_tau(tau: float, *, batch_size: int, reference_batch_size: int | None) -> float:
    """tau^(batch_size / reference_batch_size): the target moves as far an image as with the reference batch.

    No scaling where `reference_batch_size` is None. (Busbridge et al. 2023, "How to scale your EMA".)
    """
    return tau if reference_batch_size is None else tau ** (batch_size / reference_batch_size)


def _cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2
