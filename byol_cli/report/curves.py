"""How training went: its curves, and the gauges of collapse with what is healthy."""

import math

from byol_cli.report.charts import Chart, chart_html
from byol_cli.report.markup import figure_text, section, text
from byol_cli.report.run_folder import RunFolder
from byol_cli.training.collapse import EFFECTIVE_RANK_FLOOR, FEATURE_STD_FLOOR, MEAN_COSINE_CEILING, Gauges

RATE = "train/images_per_second"
CURVES = {
    "train/loss": ("Loss", "falls when a run collapses, too: see the gauges"),
    "probe/knn_top1": ("k-NN accuracy", "on the selection split"),
    "probe/effective_rank": ("Effective rank", "of features on the selection split"),
    "train/lr": ("Learning rate", ""),
    "train/tau": ("Tau", "how slowly the target follows"),
    "train/gradient_norm": ("Gradient norm", ""),
    RATE: ("Images per second", ""),
}

GAUGES = {
    "feature_std": ("Feature spread", (FEATURE_STD_FLOOR, math.inf), "1: spread out evenly, 0: collapsed"),
    "effective_rank": ("Effective rank", (EFFECTIVE_RANK_FLOOR, math.inf), "share of the dimensions in use"),
    "mean_cosine": ("Mean cosine", (-math.inf, MEAN_COSINE_CEILING), "of two images; 0: apart, 1: all alike"),
}


def curves_html(run: RunFolder) -> str:
    """All curves that were recorded, as small multiples."""
    waits = run.curve("train/data_wait_share")
    waiting = f"waiting for images {waits[-1][1]:.0%} of the time" if waits else ""
    charts = [
        chart_html(Chart(title=title, note=waiting if name == RATE else note, points=run.curve(name)))
        for name, (title, note) in CURVES.items()
    ]
    if not any(charts):
        return ""
    lead = "Point at a curve, or move along it with the arrow keys, to read its values."
    return section("training", "Training", f'<div class="charts">{"".join(charts)}</div>', lead=lead)


def last_gauges(run: RunFolder) -> Gauges | None:
    """The newest reading of all gauges, None where there is none."""
    readings = {name: run.curve(f"gauges/{name}") for name in GAUGES}
    if not all(readings.values()):
        return None
    return Gauges(**{name: points[-1][1] for name, points in readings.items()})


def gauges_html(run: RunFolder) -> str:
    """Each gauge's newest reading on a scale that shows what is healthy, and how it came to that."""
    gauges = last_gauges(run)
    if gauges is None:
        return ""
    wrong = gauges.verdict()
    lead = (
        "The loss alone cannot show collapse. These are taken of the online projections of a fixed held-out batch; "
        + (f"{wrong}." if wrong else "all three are in the healthy range.")
    )
    cards = "".join(_gauge(run, name, getattr(gauges, name)) for name in GAUGES)
    return section("collapse", "Collapse", f'<div class="charts">{cards}</div>', lead=lead)


def _gauge(run: RunFolder, name: str, value: float) -> str:
    title, (low, high), note = GAUGES[name]
    healthy = low < value < high
    rule = f"above {low:g}" if math.isfinite(low) else f"below {high:g}"
    left, right = (max(low, 0.0), min(high, 1.0))
    place = 100 * min(max(value, 0.0), 1.0) if math.isfinite(value) else 0
    meter = (
        f'<div class="meter" role="meter" aria-label="{text(title)}" aria-valuemin="0" aria-valuemax="1" '
        f'aria-valuenow="{value if math.isfinite(value) else 0:.3f}" '
        f'aria-valuetext="{figure_text(value)}, {"healthy" if healthy else "not healthy"}, healthy is {rule}">'
        f'<span style="left:{100 * left:.1f}%;right:{100 * (1 - right):.1f}%"></span>'
        f'<b style="left:{place:.1f}%"></b></div>'
    )
    words = f"healthy: {rule}" if healthy else f"not healthy; healthy is {rule}"
    state = f'<p class="state {"good" if healthy else "bad"}">{words}</p>'
    limits = (max(min(low, 1.0), 0.0), min(max(high, 0.0), 1.0))
    chart = chart_html(
        Chart(title=title, note=note, points=run.curve(f"gauges/{name}"), healthy=limits, limits=(0.0, 1.0))
    )
    return f'<div class="gauge">{chart}{meter}{state}</div>'
