"""LARS against the update rule written out one number at a time in float64."""

import io
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from byol_cli.optim.lars import LARS

LR, MOMENTUM, DECAY, TRUST = 0.5, 0.9, 0.1, 0.02
Ratio = Callable[[list[float], list[float], list[float]], float]


def norm(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def ratio_of_deepmind(parameter: list[float], decayed: list[float], gradient: list[float]) -> float:
    """||p|| over the norm of the decayed gradient."""
    if norm(parameter) == 0 or norm(decayed) == 0:
        return 1.0
    return TRUST * norm(parameter) / norm(decayed)


def ratio_of_the_torch_peers(parameter: list[float], decayed: list[float], gradient: list[float]) -> float:
    """||p|| over ||gradient|| + decay ||p||."""
    if norm(parameter) == 0 or norm(gradient) == 0:
        return 1.0
    return TRUST * norm(parameter) / (norm(gradient) + DECAY * norm(parameter))


def by_hand(
    start: Tensor, gradients: list[Tensor], *, decay: float, adapt: bool, ratio: Ratio = ratio_of_deepmind
) -> list[float]:
    parameter, momentum = start.flatten().tolist(), [0.0] * start.numel()
    for gradient in (g.flatten().tolist() for g in gradients):
        decayed = [g + decay * p for g, p in zip(gradient, parameter, strict=True)]
        factor = ratio(parameter, decayed, gradient) if adapt else 1.0
        momentum = [MOMENTUM * m + factor * g for m, g in zip(momentum, decayed, strict=True)]
        parameter = [p - LR * m for p, m in zip(parameter, momentum, strict=True)]
    return parameter


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


STARTS = {
    "weight": draw(4, 3, seed=0),
    "zero weight": torch.zeros(2, 5),
    "weight without gradient": draw(3, 3, seed=1),
    "zero weight without gradient": torch.zeros(2, 2),
    "filters": draw(2, 3, 3, 3, seed=2),
}
GRADIENTS = {
    name: [
        torch.zeros_like(start) if "without gradient" in name else draw(*start.shape, seed=100 * row + step)
        for step in range(10)
    ]
    for row, (name, start) in enumerate(STARTS.items())
}


def lars(groups: list[dict[str, object]]) -> LARS:
    return LARS(groups, lr=LR, momentum=MOMENTUM, weight_decay=DECAY, trust_coefficient=TRUST)


def run(optimizer: LARS, parameters: dict[str, nn.Parameter], steps: range) -> None:
    for step in steps:
        for name, parameter in parameters.items():
            parameter.grad = GRADIENTS[name][step].clone().to(parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("adapt", [True, False])
def test_ten_steps_equal_the_rule_written_out(dtype: torch.dtype, decay: float, adapt: bool) -> None:
    parameters = {name: nn.Parameter(start.clone().to(dtype)) for name, start in STARTS.items()}
    run(lars([{"params": list(parameters.values()), "weight_decay": decay, "adapt": adapt}]), parameters, range(10))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for name, parameter in parameters.items():
        expected = by_hand(STARTS[name], GRADIENTS[name], decay=decay, adapt=adapt)
        assert parameter.flatten().tolist() == pytest.approx(expected, rel=tolerance, abs=tolerance), name


def test_each_group_has_its_own_decay_and_adaptation() -> None:
    weight, bias = nn.Parameter(STARTS["weight"].clone()), nn.Parameter(STARTS["filters"].clone())
    optimizer = lars([{"params": [weight]}, {"params": [bias], "weight_decay": 0.0, "adapt": False}])
    run(optimizer, {"weight": weight, "filters": bias}, range(10))
    adapted = by_hand(STARTS["weight"], GRADIENTS["weight"], decay=DECAY, adapt=True)
    plain = by_hand(STARTS["filters"], GRADIENTS["filters"], decay=0.0, adapt=False)
    assert weight.flatten().tolist() == pytest.approx(adapted, rel=1e-5)
    assert bias.flatten().tolist() == pytest.approx(plain, rel=1e-5)


def test_the_denominator_of_other_torch_implementations_gives_something_else() -> None:
    weight = nn.Parameter(STARTS["weight"].clone())
    run(lars([{"params": [weight]}]), {"weight": weight}, range(10))
    theirs = by_hand(STARTS["weight"], GRADIENTS["weight"], decay=DECAY, adapt=True, ratio=ratio_of_the_torch_peers)
    difference = max(abs(a - b) for a, b in zip(weight.flatten().tolist(), theirs, strict=True))
    assert difference > 1e-3


def test_one_step_worked_out_on_paper() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    weight.grad = torch.tensor([[-0.3, 1.6]])
    # g = grad + 0.1 p = (0, 2), norm 2; u = g x 0.02 x 5 / 2 = (0, 0.1); p = p - 0.5 u.
    lars([{"params": [weight]}]).step()
    assert weight.tolist() == [pytest.approx([3.0, 3.95])]


def test_a_step_leaves_the_gradients_alone_and_skips_parameters_without_one() -> None:
    moved, still = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.full((2, 2), 0.5)
    optimizer = lars([{"params": [moved, still]}, {"params": []}])
    optimizer.step()
    assert moved.grad.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert still.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert moved[0, 0] < 1
    assert list(optimizer.state) == [moved]


def test_a_step_never_reads_a_value_back_from_the_device() -> None:
    # Meta tensors have no values: whatever would wait for one raises.
    parameters = [nn.Parameter(torch.empty(3, 3, device="meta")), nn.Parameter(torch.empty(4, 2, device="meta"))]
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    optimizer = lars([{"params": parameters}])
    optimizer.step()
    optimizer.step()
    with pytest.raises(RuntimeError):
        parameters[0].norm().item()


def test_the_state_survives_a_file_read_with_weights_only() -> None:
    straight = {"weight": nn.Parameter(STARTS["weight"].clone())}
    run(lars([{"params": list(straight.values())}]), straight, range(10))

    stopped = {"weight": nn.Parameter(STARTS["weight"].clone())}
    before = lars([{"params": list(stopped.values())}])
    run(before, stopped, range(5))
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert list(state["state"][0]) == ["momentum_buffer"]

    resumed = lars([{"params": list(stopped.values())}])
    resumed.load_state_dict(state)
    run(resumed, stopped, range(5, 10))
    assert torch.equal(stopped["weight"], straight["weight"])


def test_a_closure_is_run_with_gradients_on() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = lars([{"params": [weight]}])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert weight.grad is not None
    assert weight[0, 0] < 1
