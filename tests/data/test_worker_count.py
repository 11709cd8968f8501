import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from byol_cli.data import worker_count
from byol_cli.data.worker_count import (
    PIECE_BYTES,
    available_cores,
    default_num_workers,
    remedy_for_waiting,
    workers_that_fit,
)

MB = 2**20


@pytest.fixture
def shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A /dev/shm whose free bytes a test can set."""
    memory = SimpleNamespace(free=64 * MB)
    monkeypatch.setattr(worker_count, "_SHARED_MEMORY", str(tmp_path))
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=memory.free // 4096, f_frsize=4096))
    return memory


@pytest.mark.parametrize(
    ("cores", "on_gpu", "expected"),
    [(1, False, 0), (2, False, 0), (3, False, 0), (16, False, 4), (1, True, 1), (2, True, 1), (16, True, 15)],
)
def test_workers_by_default(cores: int, on_gpu: bool, expected: int) -> None:
    assert default_num_workers(cores, on_gpu=on_gpu) == expected
    assert default_num_workers(256, on_gpu=on_gpu) == 32


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("1600000 100000", 8)]
)
def test_a_containers_quota_counts(limit: str, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    monkeypatch.setattr(worker_count, "_CGROUP_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cores() == expected


def test_only_cores_that_the_process_is_bound_to_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker_count, "_CGROUP_LIMIT", tmp_path / "absent")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert available_cores() == 2


@pytest.mark.parametrize(("free", "expected"), [(64 * MB, 2), (1024 * MB, 15), (24 * MB, 1), (1 * MB, 0)])
def test_little_shared_memory_means_fewer_workers_and_says_so(
    shared_memory: SimpleNamespace, free: int, expected: int
) -> None:
    shared_memory.free = free
    said: list[str] = []
    assert workers_that_fit(15, image_bytes=1000, log=said.append) == expected
    if expected == 15:
        assert said == []
    else:
        assert len(said) == 1
        assert f"{free // MB:,} MB free: {expected} processes read images instead of 15" in said[0]
        assert "--shm-size" in said[0]
        assert "\n" not in said[0]


def test_images_larger_than_a_piece_need_more_shared_memory(shared_memory: SimpleNamespace) -> None:
    assert workers_that_fit(15, image_bytes=2 * PIECE_BYTES, log=lambda _: None) == 1


def test_without_workers_shared_memory_does_not_matter(shared_memory: SimpleNamespace) -> None:
    shared_memory.free = 0
    assert workers_that_fit(0, image_bytes=1000, log=pytest.fail) == 0


def test_the_remedy_names_a_setting_that_would_help() -> None:
    def remedy(num_workers: int, cores: int, *, on_gpu: bool, cached: bool, asked: int | None = None) -> str:
        return remedy_for_waiting(
            asked=num_workers if asked is None else asked,
            num_workers=num_workers,
            cores=cores,
            on_gpu=on_gpu,
            cached=cached,
        )

    assert "trainer.num_workers=15 " in remedy(4, 16, on_gpu=True, cached=False)
    assert "--shm-size" in remedy(4, 16, on_gpu=True, cached=False, asked=15)
    assert "trainer.num_workers" not in remedy(4, 16, on_gpu=True, cached=False, asked=15)
    assert "dataset.cache=disk" in remedy(15, 16, on_gpu=True, cached=False)
    assert "dataset.cache=" not in remedy(15, 16, on_gpu=True, cached=True)
    assert "dataset.cache=disk" in remedy(0, 2, on_gpu=False, cached=False)
