"""How much memory is left: to the machine, and to the container that this process may run in."""

from pathlib import Path

from byol_cli.schema.errors import InputError

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


def refuse_more_than_there_is(num_bytes: int, *, what: str) -> None:
    """Refuse what would not fit into memory, where Linux tells how much there is; raises InputError, naming `what`."""
    if _MACHINE.is_file() and num_bytes > available_memory():
        raise InputError(
            f"{what} take {num_bytes / 1e9:,.1f} GB, of memory {available_memory() / 1e9:,.1f} GB are free"
        )


def _table(path: Path) -> dict[str, int]:
    """The first word and the first number of each line."""
    return {words[0]: int(words[1]) for words in map(str.split, path.read_text().splitlines())}
