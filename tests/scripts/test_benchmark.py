import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import benchmark
import pytest
import torch
from benchmarks.pictures import jpeg_files, picture, write_pictures
from benchmarks.turns import Contender, repeat, seconds_by_turns
from PIL import Image

from byol_cli.cli.command import guarded

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "nothing is none of views, step, loop, saves, eval, startup, shards, all"),
        ("stepp", "stepp is none of views, step, loop, saves, eval, startup, shards, all"),
        ("views --peers lightli", "--peers=lightli: lightli is none of lightly, byol-pytorch, none"),
        ("views --rounds 0", "--rounds=0 must be at least 1"),
        ("views --images nowhere", "--images=nowhere is no folder with JPEG files in it"),
        ("views --json nowhere/figures.json", "--json=nowhere/figures.json: there is no folder nowhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(benchmark.PROGRAM, lambda: benchmark.main(words.split())) == 2
    printed = capsys.readouterr()
    assert printed.err == f"benchmark.py: {complaint}\n"
    assert printed.out == ""


def test_a_peer_that_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "is_installed", lambda peer: False)
    assert guarded(benchmark.PROGRAM, lambda: benchmark.main(["step", "--peers", "lightly"])) == 2
    assert "--peers=lightly: lightly is not installed; pip install -r" in capsys.readouterr().err


def test_benchmarks_run_in_their_own_order_and_once() -> None:
    assert benchmark.chosen(["startup", "views", "views"]) == ["views", "startup"]
    assert benchmark.chosen(["all"]) == list(benchmark.MODULES)


def test_pictures_are_the_same_every_time_and_all_different(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pictures(tmp_path / name, 64, height=32, width=48, quality=95, grain=0.01)
    first, second = (list(map(Path, jpeg_files(tmp_path / name))) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len({path.read_bytes() for path in first}) == len(first) == 64
    assert Image.open(first[0]).size == (48, 32)


def test_a_picture_is_smooth_like_a_photo() -> None:
    pixels = picture(60, 80, grain=0.0, generator=torch.Generator().manual_seed(0))
    assert pixels.diff(dim=2).abs().mean() < 0.2 * pixels.std()


@pytest.mark.slow
def test_contenders_take_turns_and_only_their_own_time_counts(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    contenders = [
        Contender(key=name, title=name, work=repeat, units=1, settings={"step": partial(os.system, line), "steps": 2})
        for name, line in (("a", f"printf a >> '{diary}'; sleep 0.01"), ("b", f"printf b >> '{diary}'; sleep 0.02"))
    ]
    seconds = list(seconds_by_turns(contenders, rounds=3))
    assert diary.read_text() == "aabb" * 4  # one round to warm up
    assert [len(row) for row in seconds] == [2, 2, 2]
    assert all(first >= 0.02 and second >= 0.04 for first, second in seconds)


def test_a_contender_that_fails_ends_the_benchmark() -> None:
    failing = Contender(key="", title="the failing one", work=repeat, units=1, settings={"unknown": 1})
    with pytest.raises(ChildProcessError, match="the failing one: failed"):
        list(seconds_by_turns([failing], rounds=1))


@pytest.mark.slow
def test_views_from_jpeg_files_run_without_any_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, figures = tmp_path / "source", tmp_path / "figures.json"
    write_pictures(source, 64, height=40, width=60, quality=90, grain=0.02)
    for path in sorted(source.iterdir())[4:]:
        path.unlink()
    words = ["views", "--rounds", "1", "--peers", "none", "--images", str(source), "--json", str(figures)]
    assert benchmark.main(words) == 0
    printed = capsys.readouterr().out
    assert "two views of 224 px from 4 files" in printed
    assert "byol-pytorch is not" in printed
    values = json.loads(figures.read_text())
    assert values["views_32_worker_vs_decode"] > 0
    assert {"views_224", "views_224_worker", "views_32_decode_and_crops"} <= set(values["figures"])
    assert not [name for name in values if "lightly" in name]


def test_the_command_refuses_with_exit_code_2() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), "stepp"]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr == "benchmark.py: stepp is none of views, step, loop, saves, eval, startup, shards, all\n"
