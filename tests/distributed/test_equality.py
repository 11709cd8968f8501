"""However many processes share it, a training is the same: the same losses and weights, but for rounding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Launch = Callable[..., list[str]]
pytestmark = pytest.mark.slow
NOISE = 1e-9


def after(launch: Launch, folder: Path, *words: str, processes: int, start: str = "none", steps: int = 20) -> Any:
    output = folder / f"{processes}_{steps}.pt"
    launch("equal_steps.py", str(output), start, str(steps), *words, processes=processes)
    return torch.load(output)


def furthest(one: Any, other: Any) -> float:
    """The largest difference of any loss, gradient norm, weight or statistic, relative where values are above 1."""
    pairs = [(torch.tensor(one["figures"][-1]), torch.tensor(other["figures"][-1]))]
    for network in ("online", "target"):
        assert one[network].keys() == other[network].keys()
        pairs += [(value, other[network][name]) for name, value in one[network].items()]
    return max(float(((a - b).abs() / b.abs().clamp_min(1)).max()) for a, b in pairs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("steps")


def test_one_two_and_four_processes_train_alike_and_without_synchronised_batchnorm_they_do_not(
    launch: Launch, folder: Path
) -> None:
    alone = after(launch, folder, processes=1)
    assert len(alone["figures"]) == 20
    for processes in (2, 4):
        assert furthest(after(launch, folder, processes=processes), alone) < NOISE
    apart = after(launch, folder, "trainer.sync_batchnorm=false", processes=2)
    assert furthest(apart, alone) > 1e-3


def test_another_number_of_processes_goes_on_in_the_same_order(launch: Launch, folder: Path) -> None:
    whole = after(launch, folder, processes=1)
    after(launch, folder, processes=2, steps=8)
    rest = after(launch, folder, processes=4, start=str(folder / "2_8.pt"), steps=12)
    assert rest["step"] == 20
    assert furthest(rest, whole) < NOISE


def test_gradients_may_be_sent_in_half_the_bytes(launch: Launch, folder: Path) -> None:
    exact = after(launch, folder, processes=2, steps=2)
    for how in ("bf16", "fp16", "powersgd"):
        rounded = after(launch, folder, f"trainer.gradient_compression={how}", processes=2, steps=2)
        assert furthest(rounded, exact) < 0.05
        assert (furthest(rounded, exact) > 1e-9) == (how != "powersgd")  # which begins after a thousand steps


def test_a_bit_that_flips_in_one_process_stops_all_and_is_told_once(launch: Launch, folder: Path) -> None:
    errors = launch("equal_steps.py", str(folder / "spoilt.pt"), "none", "9", "spoil", processes=2, code=3)
    assert errors[0].startswith("equal_steps: step 3: the weights in process 1 of 2 are no longer those of process 0")
    assert errors[1] == ""


def test_batchnorm_over_three_processes_is_that_of_the_whole_batch(launch: Launch) -> None:
    launch("norms.py", processes=3)


def test_features_extracted_by_three_processes_are_those_of_one_each_image_once(launch: Launch) -> None:
    launch("features.py", processes=3)
