"""The images as points in two dimensions, near each other where their features are: the map, and embedding.png."""

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from byol_cli.report.drawing import label as written
from byol_cli.report.drawing import title
from byol_cli.report.gallery import Gallery, directions
from byol_cli.report.markup import json_block, section, text

WIDTH, HEIGHT, MARGIN = 1000, 640, 26
NAMES = {"pca": "PCA", "tsne": "t-SNE"}
FIRST_COLOURS = 10  # the style sheet's own; further classes get hues of the colour circle
GOLDEN_ANGLE = 137.508  # degrees


def projections(gallery: Gallery, *, tsne: bool) -> dict[str, Tensor]:
    """Two-dimensional places of the images by name: PCA, and t-SNE (slow: seconds) where it is asked for.

    Both work on the features at length one. Each is float32 `(images, 2)`; the same input gives the same places.
    """
    vectors = directions(gallery)
    places = {"pca": pca(vectors)}
    if tsne and len(gallery) > 4:
        from sklearn.manifold import TSNE  # late: it takes a second

        perplexity = min(30.0, (len(gallery) - 1) / 3)
        fitted = TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(vectors.numpy())
        places["tsne"] = torch.from_numpy(np.asarray(fitted, dtype=np.float32))
    return places


def pca(vectors: Tensor) -> Tensor:
    """The first two principal components `(images, 2)`; each one's largest value is positive, so that none flips."""
    centred = (vectors - vectors.mean(dim=0)).double()
    left, singular_values, _ = torch.linalg.svd(centred, full_matrices=False)
    places = left[:, :2] * singular_values[:2]
    if places.shape[1] < 2:
        places = torch.cat([places, places.new_zeros(len(places), 2 - places.shape[1])], dim=1)
    largest = places.gather(0, places.abs().argmax(dim=0, keepdim=True))
    return (places * torch.where(largest < 0, -1.0, 1.0)).float()


def colour(label: int) -> str:
    """CSS for the points of a class; -1 is no class."""
    if label < 0:
        return "var(--accent)"
    if label < FIRST_COLOURS:
        return f"var(--class-{label})"
    return f"oklch(var(--class-light) 0.14 {label * GOLDEN_ANGLE % 360:.0f})"


def map_html(gallery: Gallery, places: dict[str, Tensor], *, columns: int, neighbors: Tensor, tsne: str) -> str:
    """The map, the classes as buttons that single one out, and the data for what is shown on pointing at an image.

    `tsne` is the command that draws one by t-SNE too.
    """
    fitted = {name: _fitted(place) for name, place in places.items()}
    labels = [-1] * len(gallery) if gallery.labels is None else gallery.labels.tolist()
    first = next(iter(fitted.values()))
    points = "".join(
        f'<circle cx="{x}" cy="{y}" style="fill:{colour(label)}"/>' for (x, y), label in zip(first, labels, strict=True)
    )
    buttons = "".join(
        f'<button type="button" data-map="{name}" aria-pressed="{str(name == next(iter(fitted))).lower()}">'
        f"{NAMES[name]}</button>"
        for name in fitted
    )
    chooser = f'<div class="choice" role="group" aria-label="Projection">{buttons}</div>' if len(fitted) > 1 else ""
    present = sorted({label for label in labels if label >= 0})
    legend = "".join(
        f'<button type="button" data-class="{label}" aria-pressed="false"><i style="background:{colour(label)}"></i>'
        f"{text(gallery.class_names[label])}</button>"
        for label in present
    )
    legend = f'<div class="legend" role="group" aria-label="Single out a class">{legend}</div>' if legend else ""
    spoken = f"Map of {len(gallery):,} images by {', '.join(NAMES[name] for name in fitted)} of their features"
    data: dict[str, Any] = {
        "columns": columns,
        "labels": labels,
        "classes": list(gallery.class_names),
        "names": list(gallery.names),
        "maps": fitted,
        "neighbors": neighbors.tolist(),
    }
    body = (
        f'{chooser}<figure class="map" data-plot><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{text(spoken)}">{points}<circle class="ring" r="13" cx="-50" cy="-50"/></svg>'
        f'<div class="card" role="status" hidden></div></figure>{legend}{json_block("map-data", data)}'
    )
    lead = (
        f"{gallery.origin[:1].upper()}{gallery.origin[1:]}, laid out by the features of the backbone of step "
        f"{gallery.step:,}; labels only colour them. Point at one to see it and what lies nearest in all dimensions."
    )
    more = "" if "tsne" in fitted else f'<p class="note">A second map, by t-SNE: <code>{text(tsne)}</code></p>'
    return section("map", "Map", f"{body}{more}", lead=lead)


def _fitted(places: Tensor) -> list[list[float]]:
    """Places inside the map's frame, one scale for both directions; the second axis points up."""
    places = places * torch.tensor([1.0, -1.0])
    low, high = places.min(dim=0).values, places.max(dim=0).values
    room = torch.tensor([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    scale = (room / (high - low).clamp_min(1e-12)).min()
    fitted = (places - (low + high) / 2) * scale + torch.tensor([WIDTH / 2, HEIGHT / 2])
    return [[round(x, 1), round(y, 1)] for x, y in fitted.nan_to_num(WIDTH / 2).tolist()]


def save_embedding(path: Path, gallery: Gallery, places: dict[str, Tensor]) -> None:
    """embedding.png; raises OSError where it cannot be written."""
    figure = Figure(figsize=(7.5 * len(places), 6.5), layout="constrained")
    labels = np.full(len(gallery), -1) if gallery.labels is None else gallery.labels.numpy()
    for axes, (name, place) in zip(figure.subplots(1, len(places), squeeze=False).flat, places.items(), strict=True):
        for label in np.unique(labels).tolist():
            chosen = labels == label
            name_of = None if label < 0 else written(gallery.class_names[label])
            axes.scatter(*place[torch.from_numpy(chosen)].T.numpy(), s=12, color=_drawn(label), label=name_of)
        axes.set(title=title(f"{NAMES[name]} of the features, {gallery.origin}"), xticks=[], yticks=[])
        if 1 < len(np.unique(labels)) <= 20:
            axes.legend(markerscale=2, fontsize=8)
    figure.savefig(path, dpi=110)


def _drawn(label: int) -> str | tuple[float, float, float]:
    """matplotlib's colour for a class."""
    if label < FIRST_COLOURS:
        return f"C{max(label, 0)}"
    return colorsys.hls_to_rgb(label * GOLDEN_ANGLE % 360 / 360, 0.45, 0.6)
