"""report.html at the end of `byol-train` and `byol-eval`: what was measured, for people who would rather look."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from byol_cli.cli.command import say
from byol_cli.evaluation.evaluator import Evaluator
from byol_cli.model.backbones import Backbone
from byol_cli.report.gallery import make_gallery
from byol_cli.report.page import write_report


def show(
    folder: Path,
    measured_by: Evaluator,
    backbone: Backbone,
    *,
    mean: Tensor,
    std: Tensor,
    tsne: bool,
    facts: Mapping[str, str],
) -> None:
    """Write the report of the run in `folder` anew, with a map of what `backbone` makes of the images measured on.

    Args:
        folder: where evaluations.jsonl lies.
        measured_by: has the images.
        backbone: on its device.
        mean: `(channels,)`, of the images' normalisation.
        std: the same.
        tsne: draw a second map by t-SNE.
        facts: about the data and the machine, in words.
    """
    gallery = make_gallery(
        measured_by.splits,
        batches=measured_by.reading.centres,
        features=partial(measured_by.features, backbone),
        mean=mean,
        std=std,
    )
    path = write_report(folder, gallery=gallery, say=say, tsne=tsne, facts=facts)
    say(f"report: {path}")
