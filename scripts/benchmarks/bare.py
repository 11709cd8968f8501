"""The floor under a training step: the same networks in the same precision, and nothing else of the product."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from byol_cli.training.setup import Run


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.SGD:
    """The optimizer of every contender; at this rate random views do not make the loss diverge."""
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-4)


def random_views(run: Run) -> Tensor:
    """Both views of one batch, float32 (2, batch, channels, image_size, image_size) on the run's device."""
    side = run.views.image_size
    return torch.randn(2, run.micro_batch_size, run.splits.channels, side, side, device=run.runtime.device)


def bare_step(run: Run, views: Tensor) -> Callable[[], None]:
    """Forward of both networks on both views, loss, backward, optimizer, moving average."""
    online, target = run.state.online.train(), run.state.target.train()
    optimizer = sgd(online.parameters())
    own: list[Tensor] = list(target.parameters())
    followed: list[Tensor] = [*online.backbone.parameters(), *online.projector.parameters()]
    device, dtype = run.runtime.device.type, run.runtime.autocast_dtype

    def step() -> None:
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            (prediction1, prediction2), (target1, target2) = online(*views), target(*views)
        cosines = cosine_similarity(prediction1.float(), target2.float())
        cosines = cosines + cosine_similarity(prediction2.float(), target1.float())
        (4 - 2 * cosines.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(own, followed, 0.01)

    return step
