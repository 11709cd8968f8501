"""The accuracy on each class, on the page and as classes.png."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from byol_cli.report.drawing import label, title
from byol_cli.report.markup import bar, figure_text, section, table, text
from byol_cli.report.measured import Measured

SHOWN_CLASSES = 16


def classes_html(result: Measured | None) -> str:
    """The accuracy on each class, the worst first."""
    if result is None or not result.per_class:
        return ""
    counts = dict(zip(result.classes, map(sum, result.confusion), strict=True)) if result.confusion else {}
    ranked = hardest_first(result.per_class)
    caption = f"{result.title} on {result.place}"
    body = _class_table(caption, ranked[:SHOWN_CLASSES], counts)
    if len(ranked) > SHOWN_CLASSES:
        rest = _class_table(f"{caption}: the others", ranked[SHOWN_CLASSES:], counts)
        body += f"<details><summary>The other {len(ranked) - SHOWN_CLASSES} classes</summary>{rest}</details>"
    return section("classes", "Classes", body, lead=f"{caption}: the accuracy on each class, the hardest first.")


def _class_table(caption: str, ranked: Sequence[tuple[str, float]], counts: dict[str, int]) -> str:
    rows = [
        (text(name), [bar(value), figure_text(value), *([f"{counts[name]:,}"] if name in counts else [])])
        for name, value in ranked
    ]
    head = ["class", "", "accuracy", *(["images"] if all(name in counts for name, _ in ranked) else [])]
    return table(caption, head, rows, kind="classes")


def hardest_first(per_class: dict[str, float]) -> list[tuple[str, float]]:
    """Classes and accuracies in the order in which they are shown."""
    return sorted(per_class.items(), key=lambda item: (item[1], item[0]))


def save_classes(path: Path, result: Measured) -> None:
    """classes.png, the hardest classes at the top; raises OSError where it cannot be written."""
    assert result.per_class is not None
    ranked = hardest_first(result.per_class)[:SHOWN_CLASSES]
    names, values = zip(*ranked, strict=True)
    figure = Figure(figsize=(6.5, 2 + 0.28 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(ranked)), values)
    axes.bar_label(bars, [figure_text(value) for value in values], padding=3)
    axes.set_yticks(range(len(ranked)), list(map(label, names)))
    axes.invert_yaxis()
    rest = len(result.per_class) - len(ranked)
    shown = f"the hardest {len(ranked)} of {len(result.per_class)} classes" if rest else "accuracy on each class"
    axes.set(xlim=(0, 1.12), xlabel="accuracy", title=title(f"{result.title} on {result.place}: {shown}"))
    figure.savefig(path, dpi=110)
