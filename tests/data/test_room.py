from pathlib import Path

import pytest

from byol_cli.data import room

GB = 2**30


def machine(path: Path, available: int) -> Path:
    (path / "meminfo").write_text(f"MemTotal: 99 kB\nMemFree: 5 kB\nMemAvailable:   {available // 1024} kB\n")
    return path / "meminfo"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(room, "_MACHINE", machine(tmp_path, 8 * GB))
    monkeypatch.setattr(room, "_CGROUP", tmp_path)
    return tmp_path


def test_this_machine_has_memory() -> None:
    assert room.available_memory() > 2**20


def test_without_a_container_the_machine_decides(files: Path) -> None:
    assert room.available_memory() == 8 * GB
    (files / "memory.max").write_text("max\n")
    assert room.available_memory() == 8 * GB


@pytest.mark.parametrize(("limit", "expected"), [(4 * GB, 2 * GB), (20 * GB, 8 * GB), (GB, 0)])
def test_a_container_leaves_what_it_does_not_use(files: Path, limit: int, expected: int) -> None:
    (files / "memory.max").write_text(f"{limit}\n")
    (files / "memory.current").write_text(f"{3 * GB}\n")
    (files / "memory.stat").write_text(f"anon {2 * GB}\nfile {GB}\ninactive_file {GB}\n")
    assert room.available_memory() == expected
