"""views.png and curves.png: for people who would rather look than read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

CURVES = {
    "loss": ["train/loss"],
    "collapse gauges": ["gauges/feature_std", "gauges/effective_rank", "gauges/mean_cosine"],
    "learning rate": ["train/lr"],
    "on the selection split": ["probe/knn_top1", "probe/effective_rank"],
}


def view_grid(view1: Tensor, view2: Tensor, *, mean: Tensor, std: Tensor, columns: int = 8) -> Tensor:
    """The first `columns` images, view 1 in the upper row, view 2 below, as one picture `(3, height, width)` in [0, 1].

    The views are normalised, `(batch, channels, height, width)`; of other than 1 or 3 channels the first is shown.
    """
    cells: list[Tensor] = []
    for view in (view1, view2):
        pixels = (view[:columns].cpu() * std.cpu().view(-1, 1, 1) + mean.cpu().view(-1, 1, 1)).clamp(0, 1)
        if pixels.shape[1] not in (1, 3):
            pixels = pixels[:, :1]
        cells += list(pixels.expand(-1, 3, -1, -1))
    return make_grid(cells, nrow=min(columns, len(view1)), padding=max(1, view1.shape[-1] // 16), pad_value=1.0)


def save_views(path: Path, grid: Tensor) -> None:
    """Save the picture of `view_grid` with a title, small images enlarged."""
    _, height, width = grid.shape
    figure = Figure(figsize=(10, 10 * height / width + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_title("what the networks see: each image's view 1, below it its view 2")
    axes.axis("off")
    figure.savefig(path, dpi=110)


def save_curves(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the run's curves from the rows of metrics.jsonl."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, CURVES.items(), strict=True):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=name.split("/")[1], linewidth=1.5)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=110)
