import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from byol_cli.data import workers
from byol_cli.data.signals import SIGNALS
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
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        os.kill(os.getpid(), name)
    return torch.tensor(number)


def die(number: int) -> Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return torch.tensor(number)


def collect(make: object, num: int, num_workers: int) -> list[Tensor]:
    return list(in_workers(make, iter(range(num)), num_workers=num_workers, timeout_seconds=60, pin_memory=False))  # type: ignore[arg-type]


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


def test_without_a_generator_of_its_own_the_loader_would_draw_from_the_global_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test before can fail."""
    monkeypatch.setattr(workers, "DataLoader", lambda *given, generator, **named: DataLoader(*given, **named))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    collect(squared, 5, 2)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_input_error_comes_out_as_it_went_in(num_workers: int) -> None:
    made = in_workers(partial(refuse, 2), iter(range(5)), num_workers=num_workers, timeout_seconds=60, pin_memory=False)
    assert [int(next(made)), int(next(made))] == [0, 1]
    with pytest.raises(InputError) as refused:
        next(made)
    assert str(refused.value) == "photo.jpg: this is no image"


def test_workers_ignore_signals_meant_for_the_run() -> None:
    assert [int(value) for value in collect(signal_itself, 4, 1)] == [0, 1, 2, 3]


@pytest.mark.parametrize(("num_workers", "half"), [(1, 0), (2, 1)])
def test_a_dead_worker_is_a_training_fault_with_a_remedy(num_workers: int, half: int) -> None:
    before = set(active_children())
    with pytest.raises(TrainingFault, match=r"^DataLoader worker \(pid.* out of memory") as fault:
        collect(die, 8, num_workers)
    assert f"trainer.num_workers={half} in place of {num_workers} needs less" in str(fault.value)
    assert "\n" not in str(fault.value)
    assert set(active_children()) <= before


def hang(number: int) -> Tensor:
    while number:
        time.sleep(1)
    return torch.tensor(number)


def test_a_hung_worker_is_a_training_fault_with_a_remedy_and_is_ended() -> None:
    before = set(active_children())
    made = in_workers(hang, iter(range(9)), num_workers=2, timeout_seconds=0.5, pin_memory=False)
    assert int(next(made)) == 0
    with pytest.raises(TrainingFault) as fault:
        next(made)
    assert str(fault.value) == (
        "none of the 2 processes that read images gave one for 0.5 s: perhaps the storage hangs; "
        "where it is only slow, trainer.worker_timeout_seconds=1 waits longer, "
        "and trainer.num_workers=1 asks less of it at a time"
    )
    assert set(active_children()) <= before


@pytest.mark.parametrize(
    ("torchs", "ours"),
    [
        ("DataLoader worker (pid 1) is killed.", "; num_workers=1 in place of 3 needs less"),
        ("DataLoader timed out after 60 seconds", "where it is only slow, num_workers=1 asks less of it at a time"),
    ],
)
def test_a_remedy_is_called_what_the_command_calls_it(torchs: str, ours: str) -> None:
    with pytest.raises(TrainingFault) as fault, workers.worker_faults(num_workers=3, group=""):
        raise RuntimeError(torchs)
    assert str(fault.value).endswith(ours)


def test_a_hung_worker_holds_up_neither_closing_nor_the_end_of_the_program(tmp_path: Path) -> None:
    """Workers ignore SIGTERM, by which Python would end them; it would then wait for them for ever."""
    script = tmp_path / "left_open.py"
    script.write_text(
        "import sys, time, torch\n"
        "from byol_cli.data.workers import in_workers\n"
        "def make(number):\n"
        "    time.sleep(1000 * number)\n"
        "    return torch.tensor(number)\n"
        "made = in_workers(make, iter(range(9)), num_workers=1, timeout_seconds=60, pin_memory=False)\n"
        "next(made)\n"
        "try:\n"
        "    raise RuntimeError\n"
        "except RuntimeError as error:\n"
        "    kept = error, made\n"
        "    sys.kept = kept\n"
        "print('at the end', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=40)
    assert (ended.returncode, ended.stdout) == (0, "at the end\n"), ended.stderr


@pytest.mark.filterwarnings("ignore:Exception ignored in.*DataLoaderIter")
def test_a_process_that_cannot_be_started_is_a_training_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    before, fork = set(active_children()), os.fork
    left = iter([True, False])

    def fork_once() -> int:
        if next(left):
            return fork()
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork_once)
    with pytest.raises(TrainingFault, match=r"could not be started: Resource .*; trainer\.num_workers=1 in place of 2"):
        collect(squared, 5, 2)
    assert set(active_children()) <= before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []).isdisjoint(SIGNALS)


STARTS_WORKERS = """
import os, signal, sys, threading, time
import torch
import torch.multiprocessing
from byol_cli.data import workers
from byol_cli.data.workers import in_workers

def say(line):  # whole: between two writes a signal would be handled
    os.write(1, f"{line}\\n".encode())

def shout(number, frame):
    say(f"handled in {os.getpid()}")

def make(number):
    return torch.tensor([number, os.getpid()])

class Slow:  # to be unpickled while a worker starts, long before it can ignore anything
    def __setstate__(self, state):
        time.sleep(0.3)

    def __getstate__(self):
        return {"some": "thing"}

    def __call__(self, number):
        return make(number)

def bombard():
    while not done.is_set():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.killpg(0, number)
        time.sleep(0.01)

if __name__ == "__main__":
    os.setpgrp()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, shout)
    torch.multiprocessing.set_start_method(sys.argv[1])
    os.register_at_fork(after_in_child=lambda: time.sleep(0.2))
    if "unblocked" in sys.argv:
        from byol_cli.data import worker_processes
        worker_processes.SIGNALS.clear()
    done = threading.Event()
    sender = threading.Thread(target=bombard)
    made = in_workers(Slow(), iter(range(6)), num_workers=2, timeout_seconds=float(sys.argv[2]), pin_memory=False)
    sender.start()
    try:
        values = [value.tolist() for value in made]
        say(f"got {[value for value, _ in values]}")
    finally:
        done.set()
        sender.join()
    say(f"parent is {os.getpid()}")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
"""


def bombarded(tmp_path: Path, *words: str) -> tuple[list[str], str]:
    script = tmp_path / "bombarded.py"
    script.write_text(STARTS_WORKERS)
    ended = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, timeout=60)
    return ended.stdout.splitlines(), ended.stderr


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_signals_to_the_group_neither_end_a_starting_worker_nor_are_handled_in_it(tmp_path: Path, method: str) -> None:
    lines, complaints = bombarded(tmp_path, method, "60")
    assert "got [0, 1, 2, 3, 4, 5]" in lines, complaints
    parent = lines[-1].split()[-1]
    assert {line for line in lines if line.startswith("handled in")} == {f"handled in {parent}"}
    assert complaints == ""


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_unblocked_signals_would_end_it_or_be_handled_in_it(tmp_path: Path, method: str) -> None:
    """The test before can fail."""
    lines, complaints = bombarded(tmp_path, method, "2", "unblocked")
    handlers = {line for line in lines if line.startswith("handled in")}
    assert len(handlers) > 1 or "got [0, 1, 2, 3, 4, 5]" not in lines, complaints


def test_closing_ends_the_workers() -> None:
    before = set(active_children())
    made = in_workers(squared, iter(range(1000)), num_workers=2, timeout_seconds=60, pin_memory=False)
    next(made)
    assert len(set(active_children()) - before) == 2
    made.close()
    assert set(active_children()) <= before
