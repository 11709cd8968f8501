"""`trainer.compile`: both networks through torch.compile, tried out first, so that no run dies of it."""

import time
from collections.abc import Callable

import torch

from byol_cli.losses import symmetric_loss
from byol_cli.training.setup import Run

MAX_REASON = 200  # characters of a compiler's message
TRIALS_OF_GRAPHS = 3  # CUDA graphs are recorded at the second call and replayed from the third on


def compile_networks(run: Run, *, say: Callable[[str], None]) -> bool:
    """Compile the online and the target network in place; returns whether they are.

    Weights, gradients, BatchNorm's statistics and random generators are as before. Where compilation fails (no C++
    compiler, an operation that it does not know) the networks stay as they were, and `say` tells why in one line.
    """
    torch._dynamo.reset()  # what earlier jobs of a sweep compiled counts against the same limit
    networks = (run.state.online, run.state.target)
    say("compiling the networks (trainer.compile=true) takes a minute or two")
    began = time.monotonic()
    try:
        for network in networks:
            network.forward = torch.compile(network.forward, mode=run.config.trainer.compile_mode)  # type: ignore
        for _ in range(1 if run.config.trainer.compile_mode == "default" else TRIALS_OF_GRAPHS):
            _try_out(run)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # every error of torch.compile is one
        for network in networks:
            vars(network).pop("forward", None)
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        say(f"trainer.compile=true fails here, so the networks run uncompiled: {reason.strip()[:MAX_REASON]}")
        return False
    say(f"compiled in {time.monotonic() - began:.0f} s")
    return True


def _try_out(run: Run) -> None:
    """A forward and a backward pass of which nothing stays."""
    online, target = run.state.online.train(), run.state.target.train()
    buffers = [*online.buffers(), *target.buffers()]
    before = [buffer.clone() for buffer in buffers]
    side = run.views.image_size
    # Two tensors: code that was compiled for one and the same would be compiled again for the first batch.
    view1, view2 = (
        torch.zeros(run.micro_batch_size, run.splits.channels, side, side, device=run.runtime.device) for _ in range(2)
    )
    try:
        with torch.random.fork_rng(devices=[run.runtime.device] if run.runtime.on_cuda else []):
            with run.runtime.autocast():
                predictions, targets = online(view1, view2), target(view1, view2)
            symmetric_loss(run.loss, predictions, targets).backward()
    finally:
        run.state.optimizer.zero_grad(set_to_none=True)
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
