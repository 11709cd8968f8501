"""report.html at the end of `byol-train` and `byol-eval`: what was measured, for people who would rather look."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from byol_cli.cli.command import say
from byol_cli.evaluation.evaluator import Evaluator
from byol_cli.model.backbones import Backbone
from byol_cli.report.gallery import make_gallery
from byol_cli.report.measured import data_title
from byol_cli.report.page import write_report
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.load import plain


def show(
    folder: Path,
    measured_by: Evaluator,
    backbone: Backbone,
    *,
    dataset: DatasetConfig,
    step: int,
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
        dataset: which images these are.
        step: that the backbone was trained for.
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
        data=data_title(plain(dataset)),
        step=step,
    )
    path = write_report(folder, gallery=gallery, say=say, tsne=tsne, facts=facts)
    if path is not None:
        say(f"report: {path}")
