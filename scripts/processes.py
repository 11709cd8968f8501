"""Processes as Linux shows them in /proc."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
ENDED = ("", "Z")


def status(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status by their names; none where there is no such process."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def state(pid: int) -> str:
    """R: runs, S or D: waits, T: is stopped, Z: ended but not looked at, nothing: is gone."""
    return status(pid).get("State", "")[:1]


def is_alive(pid: int) -> bool:
    """Whether it has not ended."""
    return state(pid) not in ENDED


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for this signal."""
    return bool(int(status(pid).get("SigCgt", "0"), 16) >> (number - 1) & 1)


def descendants(pid: int) -> list[int]:
    """The processes that it started, and those that they started."""
    parents = dict(_parents())
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def _parents() -> Iterator[tuple[int, int]]:
    for name in filter(str.isdecimal, os.listdir(PROC)):
        if parent := status(int(name)).get("PPid"):
            yield int(name), int(parent)


def resident_megabytes(pid: int) -> float:
    """Memory of the process that is in RAM, shared or not."""
    return _kilobytes(status(pid).get("VmRSS", "0 kB")) / 1024


def proportional_megabytes(pid: int) -> float:
    """The same, but what several processes share is divided among them; 0 where it has ended."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(_kilobytes(line.partition(":")[2]) for line in lines if line.startswith("Pss:")) / 1024


def open_files(pid: int) -> int:
    """Files, pipes and sockets that the process holds open; 0 where it has ended."""
    try:
        return len(os.listdir(PROC / str(pid) / "fd"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def threads(pid: int) -> int:
    """Of the process; 0 where it has ended."""
    return int(status(pid).get("Threads", "0"))


def _kilobytes(text: str) -> int:
    return int(text.split()[0])
