import os
import signal
import time
from functools import partial
from multiprocessing import active_children

import pytest
import torch
from torch import Tensor

from byol_cli.data.workers import in_workers
from byol_cli.schema.errors import InputError, TrainingFault


def squared(number: int) -> Tensor:
    time.sleep(0.02 * (number % 3 == 0))
    return torch.tensor([number**2, torch.get_num_threads(), os.getpid()])


def refuse(bad: int, number: int) -> Tensor:
    if number == bad:
        raise InputError("photo.jpg: this is no image")
    return torch.tensor(number)


def signal_itself(number: int) -> Tensor:
    for name in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), name)
    return torch.tensor(number)


def die(number: int) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return torch.tensor(number)


def collect(make: object, num: int, num_workers: int) -> list[Tensor]:
    return list(in_workers(make, iter(range(num)), num_workers=num_workers, pin_memory=False))  # type: ignore[arg-type]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_results_come_in_order(num_workers: int) -> None:
    made = collect(squared, 10, num_workers)
    assert [int(value[0]) for value in made] == [number**2 for number in range(10)]
    assert all(value[1] == 1 for value in made)
    assert len({int(value[2]) for value in made}) == max(1, num_workers)
    assert (int(made[0][2]) == os.getpid()) == (num_workers == 0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_global_generators_stay_untouched(num_workers: int) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    collect(squared, 5, num_workers)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_input_error_comes_out_as_it_went_in(num_workers: int) -> None:
    made = in_workers(partial(refuse, 2), iter(range(5)), num_workers=num_workers, pin_memory=False)
    assert [int(next(made)), int(next(made))] == [0, 1]
    with pytest.raises(InputError) as refused:
        next(made)
    assert str(refused.value) == "photo.jpg: this is no image"


def test_workers_ignore_signals_meant_for_the_run() -> None:
    assert [int(value) for value in collect(signal_itself, 4, 1)] == [0, 1, 2, 3]


def test_a_dead_worker_is_a_training_fault() -> None:
    with pytest.raises(TrainingFault, match=r"DataLoader worker .*trainer\.num_workers") as fault:
        collect(die, 3, 1)
    assert "\n" not in str(fault.value)


def test_closing_ends_the_workers() -> None:
    before = set(active_children())
    made = in_workers(squared, iter(range(1000)), num_workers=2, pin_memory=False)
    next(made)
    assert len(set(active_children()) - before) == 2
    made.close()
    assert set(active_children()) <= before
