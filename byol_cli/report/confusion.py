"""What is taken for what: the confusion matrix, on the page and as confusion.png."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from byol_cli.report.drawing import label, title
from byol_cli.report.markup import data_uri, section, table, text
from byol_cli.report.measured import Measured

IN_CELLS = 20  # classes at most whose counts can be read in a table
WORST_PAIRS = 10
STRONG = 0.75  # share of a row from which on its shade is dark
_INK = (36, 97, 168)  # the accent of both themes lies near it


def shown_result(results: Sequence[Measured]) -> Measured | None:
    """The measurement of the trained backbone whose classes are shown: a linear probe's rather than another's."""
    detailed = [result for result in results if result.representation == "trained" and result.per_class]
    order = [(*result.rank, result.confusion is not None, result.measure == "linear") for result in detailed]
    return detailed[order.index(max(order))] if detailed else None


def confusion_html(result: Measured | None) -> str:
    """Counts, shaded by their share of the row; of many classes a picture, and the pairs most often confused."""
    if result is None or result.confusion is None:
        return ""
    lead = (
        f"{result.title} on {result.place}. "
        "A row is what an image shows, a column what it was taken for; the diagonal is right."
    )
    few = len(result.classes) <= IN_CELLS
    matrix = _matrix(result.classes, result.confusion) if few else _picture(result.confusion)
    return section("confusion", "Confusion", f'<div class="beside">{matrix}{_worst_pairs(result)}</div>', lead=lead)


def _matrix(classes: Sequence[str], rows: Sequence[Sequence[int]]) -> str:
    def cell(count: int, total: int) -> str:
        share = count / total if total else 0
        strong = ' class="strong"' if share > STRONG else ""
        return f'<span{strong} style="--share:{share:.3f}">{count if count else ""}</span>'

    body = [(text(name), [cell(count, sum(row)) for count in row]) for name, row in zip(classes, rows, strict=True)]
    return table("rows: the truth; columns: the answer", ["", *classes], body, kind="matrix")


def _picture(rows: Sequence[Sequence[int]]) -> str:
    strength = (255 * shares(rows) ** 0.5).round().astype(np.uint8)
    pixels = np.concatenate([np.full((*strength.shape, 3), _INK, dtype=np.uint8), strength[..., None]], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    size = len(rows)
    return (
        f'<img class="heat" src="{data_uri(file.getvalue(), kind="png")}" width="{size}" height="{size}" '
        f'alt="Confusion matrix of {size} classes; the pairs most often confused are listed below">'
    )


def shares(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Each count as a share of its row, float64 `(classes, classes)`; 0 in a row without images."""
    counts = np.array(rows, dtype=np.float64)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _worst_pairs(result: Measured) -> str:
    assert result.confusion is not None
    names = result.classes
    pairs = [
        (count, sum(row), names[truth], names[answer])
        for truth, row in enumerate(result.confusion)
        for answer, count in enumerate(row)
        if count and truth != answer
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [
        (text(truth), [text(answer), f"{count:,} of {total:,}"]) for count, total, truth, answer in pairs[:WORST_PAIRS]
    ]
    return table("most often confused", ["shown", "taken for", "images"], rows, kind="confused") if rows else ""


def save_confusion(path: Path, result: Measured) -> None:
    """confusion.png; raises OSError where it cannot be written."""
    assert result.confusion is not None
    size = len(result.classes)
    figure = Figure(figsize=(7, 6.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares(result.confusion), cmap="Blues", vmin=0, vmax=1)
    if size <= IN_CELLS:
        names = list(map(label, result.classes))
        axes.set_xticks(range(size), names, rotation=0 if max(map(len, names)) < 4 else 90)
        axes.set_yticks(range(size), names)
        for truth, row in enumerate(result.confusion):
            for answer, count in enumerate(row):
                if count:
                    colour = "white" if count > 0.5 * sum(row) else "black"
                    axes.text(answer, truth, str(count), ha="center", va="center", fontsize=8, color=colour)
    axes.set(
        xlabel="taken for", ylabel="shown", title=title(f"{result.title} on {result.place}: what is taken for what")
    )
    figure.savefig(path, dpi=110)
