"""One curve as a small SVG with a reading: legible at the width of a phone, three of them abreast on a desk."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from byol_cli.report.markup import short_number, text

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 24
MAX_POINTS = 400  # of a curve; of longer ones each stretch gives its lowest and its highest value

Point = tuple[int, float]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn.

    Attributes:
        title: of the curve.
        note: what one should know to read it.
        points: step and value, by step; a value that is not finite makes a gap.
        healthy: the range of values that is in order, shaded; None for no such range.
        limits: the least range of values that the axis spans.
    """

    title: str
    points: Sequence[Point]
    note: str = ""
    healthy: tuple[float, float] | None = None
    limits: tuple[float, float] | None = None


def chart_html(chart: Chart) -> str:
    """A figure with heading, curve and reading; empty where the curve has no finite value."""
    finite = [point for point in chart.points if math.isfinite(point[1])]
    if not finite:
        return ""
    points = thinned(chart.points)
    low, high, ticks = axis(min(value for _, value in finite), max(value for _, value in finite), limits=chart.limits)
    first, last = points[0][0], points[-1][0]

    def across(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((step - first) / (last - first) if last > first else 0.5)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    lines = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
        f'<text x="{LEFT - 7}" y="{up(tick) + 3.5:.1f}" text-anchor="end">{short_number(tick)}</text>'
        for tick in ticks
    )
    shown = [point for point in points if math.isfinite(point[1])]
    data = {
        "x": [step for step, _ in shown],
        "text": [short_number(value) for _, value in shown],
        "px": [round(across(step), 1) for step, _ in shown],
        "py": [round(up(value), 1) for _, value in shown],
    }
    least, most = min(value for _, value in finite), max(value for _, value in finite)
    spoken = (
        f"{chart.title} by step: {short_number(finite[0][1])} at step {finite[0][0]:,}, "
        f"{short_number(finite[-1][1])} at step {finite[-1][0]:,}, "
        f"between {short_number(least)} and {short_number(most)}"
    )
    broken = len(chart.points) - len(finite)
    notes = [chart.note, f"{broken:,} not finite" if broken else ""]
    note = f"<small>{text('; '.join(filter(None, notes)))}</small>" if any(notes) else ""
    end_x, end_y = round(across(shown[-1][0]), 1), round(up(shown[-1][1]), 1)
    return (
        f'<figure class="chart" data-chart="{text(json.dumps(data, separators=(",", ":")))}">'
        f"<figcaption><span>{text(chart.title)}{note}</span>"
        f"<output>{short_number(finite[-1][1])}</output></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{text(spoken)}">'
        f"{_zone(chart, low, high, up)}{lines}"
        f'<text x="{LEFT}" y="{HEIGHT - 7}">{first:,}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 7}" text-anchor="end">step {last:,}</text>'
        f'<path class="line" d="{_path(points, across, up)}"/>'
        f'<line class="cursor" x1="{end_x}" x2="{end_x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<circle class="mark" cx="{end_x}" cy="{end_y}" r="3.5"/></svg></figure>'
    )


def _zone(chart: Chart, low: float, high: float, up: Callable[[float], float]) -> str:
    if chart.healthy is None:
        return ""
    top, bottom = up(min(chart.healthy[1], high)), up(max(chart.healthy[0], low))
    return (
        f'<rect class="healthy" x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{max(bottom - top, 0):.1f}"/>'
    )


def _path(points: Sequence[Point], across: Callable[[float], float], up: Callable[[float], float]) -> str:
    words, drawing = [], False
    for step, value in points:
        if math.isfinite(value):
            words.append(f"{'L' if drawing else 'M'}{across(step):.1f} {up(value):.1f}")
        drawing = math.isfinite(value)
    return "".join(words)


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS and the two ends of a curve, such that no peak is lost."""
    if len(points) <= MAX_POINTS:
        return list(points)
    stretches = MAX_POINTS // 2
    kept = {0, len(points) - 1}
    for number in range(stretches):
        places = range(number * len(points) // stretches, (number + 1) * len(points) // stretches)
        broken = [place for place in places if not math.isfinite(points[place][1])]
        kept |= {min(places, key=lambda place: points[place][1]), max(places, key=lambda place: points[place][1])}
        kept |= set(broken[:1])
    return [points[place] for place in sorted(kept)]


def axis(least: float, most: float, *, limits: tuple[float, float] | None) -> tuple[float, float, list[float]]:
    """The ends of an axis that holds `least`, `most` and `limits`, and its ticks: round numbers, three to six."""
    if limits is not None:
        least, most = min(least, limits[0]), max(most, limits[1])
    if most - least < 1e-8 * max(abs(most), abs(least), 1e-300):  # as good as constant
        most, least = most + (abs(most) or 1) * 0.1, least - (abs(least) or 1) * 0.1
    rough = (most - least) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    ticks = [float(f"{number * step:.12g}") for number in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks
