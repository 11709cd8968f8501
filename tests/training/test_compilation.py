"""trainer.compile changes how fast a step is, not what it computes, and never ends a run."""

from typing import Any

import numpy as np
import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import TrainConfig
from byol_cli.training.compilation import compile_networks
from byol_cli.training.setup import Run, prepare

WORDS = [
    "backbone.widths=[4]",
    "backbone.blocks=[1]",
    "head.hidden_dim=8",
    "head.output_dim=4",
    "trainer.batch_size=16",
    "trainer.device=cpu",
    "trainer.precision=fp32",
]


def tiny_run() -> Run:
    return prepare(load_config(TrainConfig, compose_config("train", WORDS)), say=lambda _: None)


def everything(run: Run) -> list[torch.Tensor]:
    return [*run.state.online.state_dict().values(), *run.state.target.state_dict().values(), torch.get_rng_state()]


def step(run: Run) -> tuple[Any, ...]:
    crops = torch.randint(0, 256, (2, 16, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    view1, view2 = run.views.finish(crops, epoch=0, indices=np.arange(16), mean=run.mean, std=run.std)
    run.state.online.zero_grad(set_to_none=True)
    predictions = run.state.online.train()(view1, view2)
    targets = run.state.target.train()(view1, view2)
    sum(prediction.square().sum() for prediction in predictions).backward()
    return (*predictions, *targets, *(parameter.grad for parameter in run.state.online.parameters()))


def test_compiled_networks_compute_the_same_and_trying_them_out_leaves_no_trace() -> None:
    run, plain = tiny_run(), tiny_run()
    before = [tensor.clone() for tensor in everything(run)]
    said: list[str] = []
    assert compile_networks(run, say=said.append), said
    assert all(torch.equal(now, then) for now, then in zip(everything(run), before, strict=True))
    assert all(parameter.grad is None for parameter in run.state.online.parameters())
    assert run.state.online.state_dict().keys() == plain.state.online.state_dict().keys()
    assert "forward" in vars(run.state.online)
    assert "forward" in vars(run.state.target)
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled = step(run)
    for ours, theirs in zip(compiled, step(plain), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)


def fails(*_: object) -> Any:
    raise ValueError("\nNo working C++ compiler found\nmore advice")


BACKENDS = {"forward": fails, "backward": aot_autograd(fw_compiler=make_boxed_func, bw_compiler=fails)}


@pytest.mark.slow
@pytest.mark.parametrize("place", BACKENDS)
def test_a_compiler_that_fails_is_told_of_in_one_line_and_the_networks_run_uncompiled(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, plain = tiny_run(), tiny_run()
    before = [tensor.clone() for tensor in everything(run)]
    compile_by = torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, mode: compile_by(forward, backend=BACKENDS[place]))
    said: list[str] = []
    assert not compile_networks(run, say=said.append)
    assert "the networks run uncompiled: " in said[-1]
    assert "\n" not in said[-1]
    assert all(torch.equal(now, then) for now, then in zip(everything(run), before, strict=True))
    for ours, theirs in zip(step(run), step(plain), strict=True):
        assert torch.equal(ours, theirs)


def test_running_out_of_memory_is_not_the_compilers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object, **__: object) -> Any:
        raise torch.OutOfMemoryError("all gone")

    monkeypatch.setattr(torch, "compile", hungry)
    with pytest.raises(torch.OutOfMemoryError):
        compile_networks(tiny_run(), say=lambda _: None)
