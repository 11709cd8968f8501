"""The training loop of BYOL (paper algorithm 1), on one screen."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from byol_cli.losses import symmetric_loss
from byol_cli.training.distributed import adding_up, data_parallel, mean_of_all
from byol_cli.training.nonfinite import NonfiniteGuard
from byol_cli.training.plan import TrainingPlan
from byol_cli.training.runtime import Runtime
from byol_cli.training.state import TrainingState

Views = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def train(
    state: TrainingState,
    batches: Iterator[Views],
    *,
    plan: TrainingPlan,
    runtime: Runtime,
    loss: Loss,
    guard: NonfiniteGuard,
    after_step: Callable[[Tensor, Tensor], bool],
) -> None:
    """Train from `state.step` to the end of the plan, or until `after_step(loss, gradient_norm)` returns False."""
    trainer = plan.config.trainer
    online = data_parallel(state.online, compression=trainer.gradient_compression).train()
    state.target.train()
    while state.step < plan.total_steps:
        for group in state.optimizer.param_groups:
            group["lr"] = plan.learning_rate(state.step)
        guard.begin_step()
        step_loss = torch.zeros((), device=runtime.device)
        for parts_left in reversed(range(trainer.accumulation_steps)):
            view1, view2 = next(batches)
            with adding_up(online, more_to_come=parts_left > 0):
                with runtime.autocast():
                    predictions = online(view1, view2)
                    targets = state.target(view1, view2)
                part = symmetric_loss(loss, predictions, targets) / trainer.accumulation_steps
                state.scaler.scale(part).backward()
            step_loss += part.detach()
        step_loss = mean_of_all(step_loss)
        gradient_norm = clip_gradients(state, max_norm=trainer.clip_grad_norm)
        if guard.allows_update(step_loss, gradient_norm):
            state.scaler.step(state.optimizer)
            state.target.move_towards(state.online, plan.tau(state.step))
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        if not after_step(step_loss, gradient_norm):
            return


def clip_gradients(state: TrainingState, *, max_norm: float | None) -> Tensor:
    """The gradient's norm over all online parameters, before it is clipped to `max_norm` (None: not clipped)."""
    state.scaler.unscale_(state.optimizer)
    parameters = list(state.online.parameters())
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if max_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm
