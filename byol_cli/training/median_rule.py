"""The median rule: which runs of a sweep are not worth finishing (Golovin et al. 2017, Google Vizier, section 3.2).

A run is ended where the best it has come to lies below the median of what the others had come to by the same step.
Vizier takes the others' running averages instead; of a score that rises and wavers, the best so far is the steadier.
The others are read from their folders beside this one's, so that it needs no server and works across processes.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from byol_cli.schema.errors import InputError
from byol_cli.training.recorder import read_metrics
from byol_cli.training.setup import Run

SCORES = "probe/"

Curve = list[tuple[int, float]]


def rule_for(run: Run, run_dir: Path) -> "MedianRule | None":
    """The rule that `trainer.stop_early` asks for."""
    trainer = run.config.trainer
    if trainer.stop_early == "none":
        return None
    return MedianRule(
        run_dir, first_step=math.ceil(trainer.stop_early_after * run.plan.total_steps), min_runs=trainer.stop_early_runs
    )


class MedianRule:
    """Compares a run with those in the folders beside its own, finished or going."""

    def __init__(self, run_dir: Path, *, first_step: int, min_runs: int) -> None:
        """No run is ended before `first_step`, nor where fewer than `min_runs` others have come as far."""
        self._run_dir, self._first_step, self._min_runs = run_dir, first_step, min_runs
        self._read: dict[Path, tuple[int, Curve]] = {}  # with the size it was read at: thousands are not read anew

    def verdict(self, step: int, best: float) -> str | None:
        """Why a run whose best score is `best` after `step` steps is not worth finishing, or None."""
        if step < self._first_step:
            return None
        others = [score for curve in self._others() if (score := best_by(step, curve)) is not None]
        if len(others) < self._min_runs or best >= median(others):
            return None
        return (
            f"its best score {best:.4g} is below the median {median(others):.4g} of {len(others)} other runs by this "
            "step; trainer.stop_early=none would go on"
        )

    def _others(self) -> Iterator[Curve]:
        for path in self._run_dir.parent.glob("*/metrics.jsonl"):
            if path.parent.name != self._run_dir.name:
                yield self._curve(path)

    def _curve(self, path: Path) -> Curve:
        try:
            size = path.stat().st_size
            if path not in self._read or self._read[path][0] != size:
                self._read[path] = size, curve_in(path)
        except OSError:  # it was removed, or its disk hangs: what is known of it stays
            pass
        return self._read[path][1] if path in self._read else []


def curve_in(path: Path) -> Curve:
    """The steps and scores of the selection split in a metrics.jsonl; a damaged one is of no run to compare with."""
    try:
        rows = read_metrics(path)
    except InputError:
        return []
    scores = [(row["step"], next((row[name] for name in row if name.startswith(SCORES)), None)) for row in rows]
    return [(step, score) for step, score in scores if isinstance(score, float) and math.isfinite(score)]


def best_by(step: int, curve: Curve) -> float | None:
    """The best score until `step`; None where the run has not come as far."""
    count = bisect_right([point[0] for point in curve], step)
    if not count or curve[-1][0] < step:
        return None
    return max(score for _, score in curve[:count])
