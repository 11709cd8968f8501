"""The first thing on the page: in one sentence, whether it was worth it, and the figures that say so."""

import math
from dataclasses import dataclass

from byol_cli.report.curves import last_gauges
from byol_cli.report.markup import bar, figure_text, plain_value, short_number, text
from byol_cli.report.measured import REPRESENTATIONS, Measured
from byol_cli.report.results import measured_in
from byol_cli.report.run_folder import RunFolder, is_number

ALIKE = 0.005  # of accuracy, where no interval is known
FEWEST = 30  # images, below which a figure's own interval makes nothing better than another
_ORDER = ("linear", "knn", "logistic", "few_label")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measurement of the trained backbone with the same of its baselines, the figure that counts in each."""

    trained: Measured
    values: dict[str, float]
    figure: str

    def against(self, representation: str) -> int:
        """1 where trained is better, -1 where it is worse, 0 where they are alike.

        By the interval of their difference; where that is not known, by whether the other lies outside of the trained
        one's own, which on few images says nothing.
        """
        difference = self.trained.difference.get(representation, {}).get(self.figure)
        if difference is None:
            value, other = self.trained.figures[self.figure], self.values[representation]
            low, high = self.trained.interval.get(self.figure, (value - ALIKE, value + ALIKE))
            difference = low - other, high - other
            if self.on_few_images and difference[0] > 0:
                return 0
        low, high = difference
        return 1 if low > 0 else -1 if high < 0 else 0

    @property
    def on_few_images(self) -> bool:
        """Whether there are too few to go by."""
        return self.trained.num_images is not None and self.trained.num_images < FEWEST


def comparison_in(run: RunFolder) -> Comparison | None:
    """The measurement that the verdict rests on: accuracies first; without labels, the effective rank."""
    results = measured_in(run)
    for figure, measures in (("top1", _ORDER), ("effective_rank", ("label_free",))):
        trained = [
            result
            for measure in measures
            for result in results
            if result.measure == measure and result.representation == "trained" and figure in result.figures
        ]
        if trained:
            return _comparison(max(trained, key=lambda result: result.rank), results, figure)
    return None


def _comparison(trained: Measured, results: list[Measured], figure: str) -> Comparison:
    alike = [
        result
        for result in results
        if (result.table, result.measure, result.variant) == (trained.table, trained.measure, trained.variant)
    ]
    values = {result.representation: result.figures[figure] for result in alike if figure in result.figures}
    return Comparison(trained=trained, values=values, figure=figure)


def sentence(run: RunFolder) -> str:
    """The verdict, a sentence or two."""
    status = str(run.summary.get("status") or "")
    gauges = last_gauges(run)
    wrong = gauges.verdict() if gauges else None
    collapse = "" if gauges is None else "The representation is collapsing." if wrong else "No sign of collapse."
    comparison = comparison_in(run)
    if comparison is not None:
        return f"{_worth(comparison)} {collapse}".strip()
    if status in ("stopped", "failed"):
        return f"This run was stopped by a fault. {collapse}".strip()
    if status == "interrupted":
        return f"This run was interrupted, and can go on. {collapse}".strip()
    return f"Nothing has been measured yet. {collapse}".strip()


def _worth(comparison: Comparison) -> str:
    if comparison.figure == "effective_rank":
        return "Without labels nothing says how good it is, only that its features spread out."
    named = {"untrained": "the untrained backbone", "pixels": "raw pixels"}
    against = {name: comparison.against(name) for name in named if name in comparison.values}
    better = [named[name] for name, sign in against.items() if sign > 0]
    alike = [named[name] for name, sign in against.items() if sign == 0]
    worse = [named[name] for name, sign in against.items() if sign < 0]
    if not against:
        return "Measured, with no baseline beside it."
    parts = [
        f"{_how('better than', better)}" if better else "",
        f"{_how('no better than', alike)}" if alike else "",
        f"{_how('not as good as', worse)}" if worse else "",
    ]
    joined = ", but ".join(part for part in parts if part) if better else " and ".join(part for part in parts if part)
    few = f", as far as {comparison.trained.num_images} images can tell" if comparison.on_few_images else ""
    return f"{joined[:1].upper()}{joined[1:]}{few}."


def _how(words: str, names: list[str]) -> str:
    return f"{words} {' and '.join(names)}"


def verdict_html(run: RunFolder, *, under: str) -> str:
    """The sentence as the page's heading, the line `under` it, the figures, and what the run came to."""
    comparison = comparison_in(run)
    message = run.summary.get("message")
    trouble = f'<p class="trouble">{text(message)}</p>' if message else ""
    return (
        f'<h1>{text(sentence(run))}</h1><p class="under">{text(under)}</p>{trouble}'
        f"{'' if comparison is None else _bars(comparison)}{_facts(run)}"
    )


def _bars(comparison: Comparison) -> str:
    trained = comparison.trained
    unit = "top-1 accuracy" if comparison.figure == "top1" else "effective rank of the features"
    rows = "".join(
        f'<div class="{text(name)}"><dt>{text(REPRESENTATIONS.get(name, name))}</dt>'
        f"<dd>{bar(value)}<b>{figure_text(value)}</b></dd></div>"
        for name, value in sorted(comparison.values.items(), key=lambda item: list(REPRESENTATIONS).index(item[0]))
        if name in REPRESENTATIONS
    )
    return f'<div class="score"><p>{text(trained.title)}, {unit} on {text(trained.place)}</p><dl>{rows}</dl></div>'


def _facts(run: RunFolder) -> str:
    summary = run.summary
    facts = {
        "status": summary.get("status"),
        "epochs": _number(summary.get("epochs")),
        "steps": _number(summary.get("steps")),
        "images / s": _number(summary.get("images_per_second")),
        "time": duration(summary.get("seconds")),
    }
    items = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(plain_value(value))}</dd></div>"
        for name, value in facts.items()
        if value is not None
    )
    return f'<dl class="facts">{items}</dl>' if items else ""


def _number(value: object) -> str | None:
    if not is_number(value):
        return None
    return short_number(round(value) if abs(value) >= 100 else value)


def duration(seconds: object) -> str | None:
    """Seconds as people say them: 5 s, 3 min 20 s, 2 h 5 min."""
    if not is_number(seconds) or not math.isfinite(seconds):
        return None
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
