"""The median rule against its definition in words, and on runs that lie beside each other."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_cli.training.median_rule import MedianRule, best_by, curve_in

Curve = list[tuple[int, float]]


def write_run(folder: Path, curve: Sequence[tuple[int, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"step": step, "train/loss": 9.0} for step, _ in curve]
    rows += [{"step": step, "probe/knn_top1": score} for step, score in curve]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def by_definition(step: int, best: float, others: list[Curve], *, first_step: int, min_runs: int) -> bool:
    """Slow and obvious: sort the bests of those that came as far, and look at the middle."""
    if step < first_step:
        return False
    bests = []
    for curve in others:
        if any(at >= step for at, _ in curve) and any(at <= step for at, _ in curve):
            bests.append(max(score for at, score in curve if at <= step))
    bests.sort()
    if len(bests) < min_runs:
        return False
    middle = len(bests) // 2
    half = bests[middle] if len(bests) % 2 else (bests[middle - 1] + bests[middle]) / 2
    return best < half


score = st.integers(0, 8).map(lambda number: number / 8)
curves = st.lists(st.tuples(st.integers(1, 6), score), max_size=5, unique_by=lambda point: point[0]).map(sorted)


@given(st.lists(curves, max_size=6), st.integers(1, 6), score, st.integers(0, 4), st.integers(1, 4))
def test_the_rule_is_its_definition(
    tmp_path_factory: pytest.TempPathFactory, others: list[Curve], step: int, best: float, first: int, runs: int
) -> None:
    sweep = tmp_path_factory.mktemp("sweep")
    write_run(sweep / "own", [(step, 1.0)])
    for number, curve in enumerate(others):
        write_run(sweep / str(number), curve)
    verdict = MedianRule(sweep / "own", first_step=first, min_runs=runs).verdict(step, best)
    assert (verdict is not None) == by_definition(step, best, others, first_step=first, min_runs=runs)


def test_runs_that_go_on_are_read_anew_and_damaged_or_vanished_ones_are_left_out(tmp_path: Path) -> None:
    rule = MedianRule(tmp_path / "own", first_step=0, min_runs=1)
    write_run(tmp_path / "other", [(1, 0.9)])
    assert rule.verdict(2, 0.5) is None  # it has not come as far
    write_run(tmp_path / "other", [(1, 0.9), (2, 0.4)])
    verdict = rule.verdict(2, 0.5)
    assert verdict is not None
    assert "its best score 0.5 is below the median 0.9 of 1 other runs by this step" in verdict
    (tmp_path / "other" / "metrics.jsonl").write_text("{damaged\n{}\n")
    assert rule.verdict(2, 0.5) is None
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.jsonl").symlink_to(tmp_path / "nowhere")
    assert rule.verdict(2, 0.5) is None


def test_scores_that_are_no_numbers_count_for_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [(1, 0.5), (2, float("nan")), (3, 0.25)])
    assert curve_in(tmp_path / "run" / "metrics.jsonl") == [(1, 0.5), (3, 0.25)]
    assert best_by(3, [(1, 0.5), (3, 0.25)]) == 0.5
    assert best_by(4, [(1, 0.5), (3, 0.25)]) is None
