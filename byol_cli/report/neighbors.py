"""Images with those whose features are nearest: on the page and in neighbors.png."""

from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from byol_cli.evaluation.search import search_figures
from byol_cli.report.drawing import title
from byol_cli.report.gallery import Gallery, directions, mosaic
from byol_cli.report.markup import figure_text, section, text
from byol_cli.views.counter import hash64

QUERIES = 8
NEIGHBORS = 10
_QUERIES = 104  # the hash's first word, apart from those of `data.splits.Split` and `report.gallery`


def nearest(gallery: Gallery, *, count: int = NEIGHBORS) -> tuple[Tensor, Tensor]:
    """The `count` nearest other images of each, or as many as there are.

    Returns:
        Their places int64 and their cosines float32, each `(images, count)`, nearest first.
    """
    vectors = directions(gallery)
    cosines = vectors @ vectors.T
    cosines.fill_diagonal_(-2)
    values, places = cosines.topk(min(count, len(gallery) - 1), dim=1)
    return places, values


def queries(gallery: Gallery) -> list[int]:
    """Which images to ask for: drawn without looking at what they find, of as many classes as there are."""
    order = sorted(range(len(gallery)), key=lambda image: int(hash64(_QUERIES, image)))
    if gallery.labels is None:
        return order[:QUERIES]
    seen: dict[int, int] = {}
    rounds = []
    for image in order:
        label = int(gallery.labels[image])
        rounds.append((seen.get(label, 0), image))
        seen[label] = seen.get(label, 0) + 1
    chosen = [image for _, image in sorted(rounds, key=lambda item: item[0])][:QUERIES]
    return sorted(chosen, key=lambda image: int(gallery.labels[image]))  # type: ignore[index]


def same_class_share(gallery: Gallery) -> tuple[float, int] | None:
    """For which share the nearest other one is of the same class, and of how many images; None where none has another.

    As evaluation=retrieval counts: an image of another class that is as near comes first, and the only image of a class
    is not asked for.
    """
    if gallery.labels is None:
        return None
    labelled = gallery.labels >= 0
    labels = gallery.labels[labelled]
    asked = int((labels.bincount()[labels] > 1).sum())
    return (search_figures(gallery.features[labelled], labels, ks=[1])["recall_at_1"], asked) if asked else None


def neighbors_html(gallery: Gallery, places: Tensor, cosines: Tensor, *, columns: int) -> str:
    """A row for each query."""
    found = same_class_share(gallery)
    lead = (
        f"Of {gallery.origin}, drawn by lot, not picked: an image, then the nearest others by the cosine of their "
        f"features at step {gallery.step:,}."
    )
    if found is not None:
        lead += f" For {found[0]:.1%} of {found[1]:,} the nearest is of the same class; others are outlined."
    rows = "".join(_row(gallery, image, places[image], cosines[image], columns=columns) for image in queries(gallery))
    return section("neighbors", "Neighbours", f'<ul class="neighbors">{rows}</ul>', lead=lead)


def _row(gallery: Gallery, image: int, places: Tensor, cosines: Tensor, *, columns: int) -> str:
    own = gallery.class_of(image)
    found = "".join(
        f"<li{_other(own, gallery.class_of(place))}>"
        f"{thumbnail(place, columns=columns, says=_says(gallery, place))}"
        f"<span>{figure_text(cosine, digits=2)}</span></li>"
        for place, cosine in zip(places.tolist(), cosines.tolist(), strict=True)
    )
    query = thumbnail(image, columns=columns, says=f"query: {_says(gallery, image)}")
    name = text(gallery.names[image] if own is None else own)
    return f'<li><div class="query">{query}<span title="{name}">{name}</span></div><ol>{found}</ol></li>'


def _other(own: str | None, found: str | None) -> str:
    return ' class="other"' if own is not None and found is not None and own != found else ""


def _says(gallery: Gallery, image: int) -> str:
    name = gallery.class_of(image)
    return gallery.names[image] if name is None else f"{gallery.names[image]}, class {name}"


def thumbnail(image: int, *, columns: int, says: str) -> str:
    """One picture of the sheet; `says` is what it is for those who cannot see it."""
    row, column = divmod(image, columns)
    says = text(says)
    return f'<i class="thumb" role="img" aria-label="{says}" title="{says}" style="--x:{column};--y:{row}"></i>'


def save_neighbors(path: Path, gallery: Gallery, places: Tensor) -> None:
    """neighbors.png: queries on the left; raises OSError where it cannot be written."""
    asked = queries(gallery)
    lines = [[image, *places[image].tolist()] for image in asked]
    gap = max(1, gallery.thumbnails.shape[-1] // 16)
    pictures = F.pad(gallery.colours(), (gap, gap, gap, gap), value=255)
    grid = mosaic(pictures[torch.tensor(lines).flatten()], columns=len(lines[0]))
    size = pictures.shape[-1]
    figure = Figure(figsize=(8, 8 * len(lines) / len(lines[0]) + 0.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.axvline(size - 0.5, color="gray", linewidth=1.5)
    axes.set_title(title(f"left an image, then the nearest others by their features: {gallery.origin}"))
    axes.axis("off")
    figure.savefig(path, dpi=110)
