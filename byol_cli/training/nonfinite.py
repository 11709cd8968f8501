"""A loss or gradient that is no finite number is noticed at its step, and never gets into a checkpoint."""

import torch
from torch import Tensor

from byol_cli.training.state import TrainingState


class NonfiniteGuard:
    """Judges each step's loss and gradient by `trainer.on_nonfinite`.

    With `skip` the step is left out: weights, target and BatchNorm's statistics stay as they were; on CUDA this waits
    for the device at every step, as fp16 does anyway. Otherwise such steps are counted on the device, for `take_count`
    to ask when it is due. Under fp16 a gradient that overflows in spite of a finite loss is left to loss scaling, which
    leaves the step out and halves its scale.
    """

    def __init__(self, state: TrainingState, *, skips: bool, device: torch.device) -> None:
        """`skips`: leave such steps out."""
        self._state, self._skips = state, skips
        self._seen = torch.zeros((), dtype=torch.int64, device=device)
        self._buffers = [*state.online.buffers(), *state.target.buffers()]
        self._before: list[Tensor] = []

    def begin_step(self) -> None:
        """Remember what the forward pass changes."""
        if self._skips:
            self._before = [buffer.clone() for buffer in self._buffers]

    def allows_update(self, loss: Tensor, gradient_norm: Tensor) -> bool:
        """Whether the optimiser may take its step."""
        overflow = self._state.scaler.is_enabled() and not gradient_norm.isfinite()
        nonfinite = ~loss.isfinite() if self._scaling_helps(overflow) else ~(loss.isfinite() & gradient_norm.isfinite())
        self._seen += nonfinite
        if self._skips and nonfinite:
            for buffer, value in zip(self._buffers, self._before, strict=True):
                buffer.copy_(value)
            return False
        return not overflow

    def _scaling_helps(self, overflow: bool) -> bool:
        return overflow and self._state.scaler.get_scale() > 1

    def take_count(self) -> int:
        """Steps that were not finite since this was asked last; waits for the device."""
        count = int(self._seen)
        self._seen.zero_()
        return count
