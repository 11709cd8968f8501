"""The first signal asks, the second Ctrl-C insists; afterwards all is as before."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from processes import is_alive

from byol_cli.training.interrupt import SIGNALS, Interrupted, StopRequest


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@contextmanager
def handled(number: signal.Signals, how: object) -> Iterator[None]:
    before = signal.signal(number, how)  # type: ignore[arg-type]
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_where_nothing_can_be_lost_it_is_interrupted_on_the_spot(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest(program="test") as stop:
        assert not stop.requested
        try:
            send(number)
            pytest.fail("it goes on")
        except Interrupted:
            assert stop.requested
        with pytest.raises(Interrupted):
            stop.check()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_in_the_making_is_finished_and_then_it_is_asked_for(number: signal.Signals) -> None:
    done: list[int] = []
    with StopRequest(program="test") as stop:
        with stop.finishing():
            send(number)
            done.append(1)
            send(signal.SIGTERM)  # as SLURM does after SIGUSR1
            done.append(2)
            assert stop.requested
        assert done == [1, 2]
        with pytest.raises(Interrupted):
            stop.check()
        with pytest.raises(Interrupted), stop.finishing():
            done.append(3)
    assert done == [1, 2]


def test_once_nothing_is_in_the_making_any_more_it_is_interrupted_on_the_spot_again() -> None:
    with StopRequest(program="test") as stop:
        with pytest.raises(ZeroDivisionError), stop.finishing():
            _ = 1 / 0
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)


def test_another_sigterm_does_not_disturb_what_the_first_one_has_begun() -> None:
    """Clearing up, and writing the summary, come after the first: a second Interrupted would tear them."""
    cleared = False
    with StopRequest(program="test"):
        try:
            send(signal.SIGUSR1)
        except Interrupted:
            with suppress(Interrupted):
                send(signal.SIGTERM)
                cleared = True
    assert cleared


def test_what_was_to_be_ignored_stays_ignored() -> None:
    with handled(signal.SIGHUP, signal.SIG_IGN), StopRequest(program="test") as stop:  # nohup
        send(signal.SIGHUP)
        assert not stop.requested


def test_it_is_no_exception_that_something_on_the_way_could_swallow() -> None:
    assert not issubclass(Interrupted, Exception)


def test_in_another_thread_no_signal_is_taken() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def enter() -> None:
        with StopRequest(program="test"):
            seen.extend(signal.getsignal(number) for number in SIGNALS)

    seen: list[object] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == before


LEAVING = """
import multiprocessing, os, signal, sys, time
from byol_cli.training.interrupt import StopRequest

with StopRequest(program="byol-embed") as stop, stop.finishing():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
    child.start()
    print(child.pid, flush=True)
    if "closed" in sys.argv:
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(reader), os.close(writer)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    finally:
        print("cleared up", flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are watched through /proc")
@pytest.mark.parametrize("stderr", ["open", "closed"])
def test_a_second_ctrl_c_leaves_at_once_without_clearing_up_and_takes_its_processes_along(stderr: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAVING, stderr], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr == ("" if stderr == "closed" else "\nbyol-embed: left at once\n")
    (child,) = ended.stdout.split()  # "cleared up" does not follow
    deadline = time.monotonic() + 10
    while is_alive(int(child)):  # the system takes a moment to end it
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_in_another_process_it_is_a_new_one_of_the_same_name() -> None:
    with StopRequest(program="byol-train", when_left="resume goes on") as stop:
        there = pickle.loads(pickle.dumps(stop))
    assert not there.requested
    assert there._last_words == stop._last_words == b"\nbyol-train: left at once; resume goes on\n"
