"""Parallel coordinates of a sweep: a line is a job, crossing each axis at its setting and the last at its score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from byol_cli.report.drawing import label
from byol_cli.report.jobs import Job, number_in
from byol_cli.report.markup import figure_text, short_number, text

MOST_LINES = 300  # what a browser draws at once, and an eye can follow
_MOST_TICKS = 8
_WIDE = 50.0  # largest by smallest value from which on an axis is logarithmic
_TOP, _BOTTOM, _SIDE = 44, 34, 76
_ROOM = 948  # for the spaces between the axes, on a wide screen
_HEIGHT = 320
_PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind a tick that lines cross


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting's values from 0, below, to 1, above: numbers by size, anything else side by side."""

    name: str
    places: dict[str, float]

    def ticks(self) -> dict[str, float]:
        """So many of the values, by their places, as can be read beside the axis."""
        values = sorted(self.places, key=self.places.__getitem__)
        return {values[index]: self.places[values[index]] for index in spread(len(values), at_most=_MOST_TICKS)}


def axes_of(jobs: Sequence[Job]) -> list[Axis]:
    """One axis for each setting that was swept."""
    axes = []
    for name in dict.fromkeys(name for job in jobs for name in job.settings):
        values = list(dict.fromkeys(job.settings[name] for job in jobs if name in job.settings))
        numbers = [number_in(value) for value in values]
        if all(number is not None for number in numbers):
            axes.append(Axis(name=name, places=_scaled(dict(zip(values, numbers, strict=True)))))  # type: ignore[arg-type]
        else:
            places = {value: (index + 0.5) / len(values) for index, value in enumerate(sorted(values))}
            axes.append(Axis(name=name, places=places))
    return axes


def _scaled(numbers: dict[str, float]) -> dict[str, float]:
    low, high = min(numbers.values()), max(numbers.values())
    if low > 0 and high / low >= _WIDE:
        return _scaled({name: math.log(value) for name, value in numbers.items()})
    return {name: (value - low) / (high - low) if high > low else 0.5 for name, value in numbers.items()}


def spread(count: int, *, at_most: int) -> list[int]:
    """All places below `count`, or `at_most` of them evenly spread, the first and the last among them."""
    if count <= at_most:
        return list(range(count))
    return [round(index * (count - 1) / (at_most - 1)) for index in range(at_most)]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A job's line: its height in [0, 1] on each axis, the score's last."""

    job: Job
    heights: list[float]


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """What is drawn of a sweep.

    Attributes:
        axes: of the settings.
        low: the worst score.
        high: the best one.
        lines: best first; of very many jobs, some of every rank.
        count: of the jobs that these stand for.
    """

    axes: list[Axis]
    low: float
    high: float
    lines: list[Line]
    count: int


def coordinates_of(jobs: Sequence[Job]) -> Coordinates | None:
    """Of jobs in their rank; None where there is nothing to compare."""
    scored = [(job, job.score) for job in jobs if job.score is not None and job.status == "done"]
    axes = axes_of([job for job, _ in scored])
    if len(scored) < 2 or not axes:
        return None
    low, high = min(score for _, score in scored), max(score for _, score in scored)
    whole = [(job, score) for job, score in scored if all(axis.name in job.settings for axis in axes)]
    lines = []
    for index in spread(len(whole), at_most=MOST_LINES):
        job, score = whole[index]
        height = (score - low) / (high - low) if high > low else 0.5
        lines.append(Line(job=job, heights=[*(axis.places[job.settings[axis.name]] for axis in axes), height]))
    return Coordinates(axes=axes, low=low, high=high, lines=lines, count=len(whole))


def coordinates_html(drawn: Coordinates) -> str:
    """As SVG; a line says which job it is."""
    step = min(max(170, _ROOM // len(drawn.axes)), 316)
    width = step * len(drawn.axes) + 2 * _SIDE
    axes = []
    for index, axis in enumerate(drawn.axes):
        x = _SIDE + index * step
        ticks = "".join(
            f'<text x="{x - 8}" y="{_up(place) + 4:.1f}" text-anchor="end">{text(_tick(value))}</text>'
            for value, place in axis.ticks().items()
        )
        axes.append(_axis(x, axis.name, ticks))
    x = _SIDE + len(drawn.axes) * step
    ends = "".join(
        f'<text x="{x + 8}" y="{_up(share) + 4:.1f}">{figure_text(value)}</text>'
        for share, value in ((0.0, drawn.low), (1.0, drawn.high))
    )
    axes.append(_axis(x, "selection", ends))
    lines = []
    for rank, line in reversed(list(enumerate(drawn.lines))):
        points = " ".join(f"{_SIDE + index * step},{_up(height):.1f}" for index, height in enumerate(line.heights))
        words = f"job {line.job.name}: {short_number(line.job.score or 0)}"
        best = " best" if rank == 0 else ""
        lines.append(f'<polyline class="job{best}" points="{points}"><title>{text(words)}</title></polyline>')
    spoken = f"Parallel coordinates of {len(lines)} jobs; the table below holds the same figures"
    some = f'<p class="note">{len(lines)} of {drawn.count:,} jobs, evenly over all ranks.</p>'
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Parallel coordinates"><svg class="coordinates" '
        f'viewBox="0 0 {width} {_HEIGHT}" width="{width}" role="img" aria-label="{spoken}">'
        f"{''.join(lines)}{''.join(axes)}</svg></div>{some if len(lines) < drawn.count else ''}"
    )


def _up(height: float) -> float:
    return _HEIGHT - _BOTTOM - height * (_HEIGHT - _TOP - _BOTTOM)


def _tick(value: str) -> str:
    number = number_in(value)
    return value[:12] if number is None or len(value) <= 8 else short_number(number)


def _axis(x: float, name: str, ticks: str) -> str:
    return (
        f'<line class="axis" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="name" x="{x}" y="20" text-anchor="middle">{text(name[-26:])}</text>{ticks}'
    )


def save_coordinates(path: Path, drawn: Coordinates) -> None:
    """The same as a picture; raises OSError where it cannot be written."""
    figure = Figure(figsize=(3 * len(drawn.axes) + 2, 4), layout="constrained")
    axes = figure.subplots()
    places = range(len(drawn.axes) + 1)
    for rank, line in reversed(list(enumerate(drawn.lines))):
        best = rank == 0
        axes.plot(places, line.heights, color="C0" if best else "0.7", linewidth=2.5 if best else 1.0)
    for place, axis in enumerate(drawn.axes):
        axes.axvline(place, color="0.4", linewidth=1)
        for value, height in axis.ticks().items():
            axes.text(place - 0.03, height, label(_tick(value)), ha="right", va="center", fontsize=8, bbox=_PAPER)
    axes.axvline(places[-1], color="0.4", linewidth=1)
    for height, score in ((0.0, drawn.low), (1.0, drawn.high)):
        axes.text(places[-1] + 0.03, height, f"{score:.3f}", va="center", fontsize=8)
    axes.set_xticks(list(places), [*(label(axis.name) for axis in drawn.axes), "selection"])
    axes.set_yticks([])
    axes.set_xlim(-0.5, places[-1] + 0.35)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
