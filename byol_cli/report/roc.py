"""Verification: what share of pairs of one class is accepted, at each share of other pairs that is."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from byol_cli.report.drawing import title
from byol_cli.report.markup import figure_text, section, text
from byol_cli.report.measured import REPRESENTATIONS, Measured
from byol_cli.report.run_folder import is_number

WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 10, 44
LOWEST = 1e-4  # false acceptance at which the logarithmic axis begins

Points = list[tuple[float, float]]


def points_of(result: Measured) -> Points:
    """Rates of false and of true acceptance, ascending; empty where the settings hold none."""
    curve: Any = result.settings.get("roc")
    if not isinstance(curve, dict):
        return []
    false, true = curve.get("false_accept"), curve.get("true_accept")
    if not (isinstance(false, list) and isinstance(true, list) and len(false) == len(true)):
        return []
    points = list(zip(false, true, strict=True))
    return points if all(is_number(value) for point in points for value in point) else []


def with_roc(results: Sequence[Measured]) -> list[Measured]:
    """The measurements that hold a curve, those of one table alone: the newest of what the run is judged by."""
    found = [result for result in results if points_of(result) and result.representation in REPRESENTATIONS]
    shown = max(reversed(found), key=lambda result: result.rank).table if found else None
    return [result for result in found if result.table == shown]


def roc_html(results: Sequence[Measured]) -> str:
    """The curves of trained, untrained and pixels on one picture, the rate of false acceptance logarithmic."""
    found = with_roc(results)
    if not found:
        return ""
    lines = "".join(
        f'<path class="{result.representation}" d="{_path(points_of(result))}"/>' for result in reversed(found)
    )
    across = "".join(
        f'<text x="{_across(rate):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{rate:g}</text>'
        for rate in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    )
    up = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_up(share):.1f}" y2="{_up(share):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{_up(share) + 4:.1f}" text-anchor="end">{share:g}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    names = "".join(
        f'<span class="{result.representation}"><i></i>{text(REPRESENTATIONS[result.representation])}'
        f"{_error_rate(result)}</span>"
        for result in found
    )
    body = (
        f'<figure class="roc"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="ROC curves; the table of '
        f'results holds their figures">{up}{across}{lines}<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" '
        f'text-anchor="middle">other pairs that are accepted</text></svg><figcaption>{names}</figcaption></figure>'
    )
    first = found[0]
    if first.measured_on == "pairs":
        question = f"Do the two images of a pair belong together, by the list {first.settings.get('pairs')}?"
        kind = "pairs that do"
    else:
        question, kind = "Are two images of the same class?", "such pairs"
    lead = (
        f"{question} The share of {kind} that is accepted, over the share of other pairs that is accepted by mistake; "
        f"on {first.place}."
    )
    return section("verification", "Verification", body, lead=lead)


def _error_rate(result: Measured) -> str:
    rate = result.figures.get("equal_error_rate")
    return "" if rate is None else f" <small>equal error rate {figure_text(rate)}</small>"


def _across(rate: float) -> float:
    share = 1 - math.log10(max(rate, LOWEST)) / math.log10(LOWEST)
    return LEFT + (WIDTH - LEFT - RIGHT) * min(share, 1.0)


def _up(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(share, 0.0), 1.0)


def _path(points: Points) -> str:
    return "M" + "L".join(f"{_across(false):.1f} {_up(true):.1f}" for false, true in points)


def save_roc(path: Path, found: Sequence[Measured]) -> None:
    """roc.png; raises OSError where it cannot be written."""
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    for result in found:
        points = [(max(false, LOWEST), true) for false, true in points_of(result)]
        axes.plot(*zip(*points, strict=True), label=REPRESENTATIONS[result.representation])
    axes.set(
        xscale="log",
        xlabel="other pairs that are accepted",
        ylabel="pairs that belong together, accepted",
        title=title(f"on {found[0].place}"),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
