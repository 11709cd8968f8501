"""How much memory is left: to the machine, and to the container that this process may run in."""

from pathlib import Path

_MACHINE = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that this process can still fill, on Linux; what files occupy in memory counts as free, as it gives way."""
    machine = _table(_MACHINE)["MemAvailable:"] * 1024
    limit = _CGROUP / "memory.max"
    if not limit.is_file() or limit.read_text().strip() == "max":
        return machine
    used = int((_CGROUP / "memory.current").read_text()) - _table(_CGROUP / "memory.stat")["inactive_file"]
    return max(0, min(machine, int(limit.read_text()) - used))


def _table(path: Path) -> dict[str, int]:
    """The first word and the first number of each line."""
    return {words[0]: int(words[1]) for words in map(str.split, path.read_text().splitlines())}
