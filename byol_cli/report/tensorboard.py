"""What TensorBoard gets when a run has been measured: a projector with pictures, and the settings with the figures."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from byol_cli.report.gallery import Gallery
from byol_cli.report.measured import Measured
from byol_cli.report.results import measured_in
from byol_cli.report.run_folder import RunFolder, is_number
from byol_cli.training.recorder import tolerated

SETTINGS = (
    "dataset.name augmentation.image_size backbone.name head.hidden_dim head.output_dim head.predictor loss.name "
    "optimizer.name optimizer.lr optimizer.weight_decay optimizer.schedule ema.name ema.base_tau trainer.epochs "
    "trainer.steps trainer.batch_size seed"
).split()
TAG = "backbone"
_SUFFIX = ".measured"  # of the one events file that is written anew each time
_STEP = "00000"  # the folder that add_embedding makes for what has no step
_TABLE = str.maketrans({"\t": " ", "\n": " ", "\r": " "})


def write_board(run: RunFolder, gallery: Gallery | None, *, say: Callable[[str], None]) -> None:
    """Add both to the run's TensorBoard folder; where it cannot be written, `say` is told."""
    folder = run.path / "tensorboard"
    with tolerated(folder, say=say):
        before = list(folder.glob(f"events.out.tfevents.*{_SUFFIX}"))
        with SummaryWriter(str(folder), filename_suffix=_SUFFIX) as board:
            if gallery is not None:
                _add_projector(board, gallery)
            _add_results(board, run)
        for path in before:
            path.unlink()


def _add_projector(board: SummaryWriter, gallery: Gallery) -> None:
    """The features as points with their pictures, names and classes, in place of those of an earlier measurement."""
    shutil.rmtree(Path(board.get_logdir()) / _STEP / TAG, ignore_errors=True)
    names = [name.translate(_TABLE) for name in gallery.names]
    header: list[str] | None = None
    rows: list[str] | list[list[str]] = names
    if gallery.labels is not None:
        classes = [(gallery.class_of(image) or "none").translate(_TABLE) for image in range(len(gallery))]
        header, rows = ["class", "image"], [list(row) for row in zip(classes, names, strict=True)]
    board.add_embedding(
        gallery.features,
        metadata=rows,
        metadata_header=header,
        label_img=gallery.colours().float() / 255,
        tag=TAG,
    )


def _add_results(board: SummaryWriter, run: RunFolder) -> None:
    """The trained backbone's figures on the run's own images, of each checkpoint at its step; and the settings.

    In this very folder, where `add_hparams` would make another.
    """
    step = run.summary.get("steps")
    last = step if isinstance(step, int) else 0
    own = [result for result in measured_in(run) if result.representation == "trained" and result.own]
    points = [(tag(result, name), value, result) for result in own for name, value in result.figures.items()]
    for name, value, result in points:
        board.add_scalar(name, value, last if result.step is None else result.step)
    figures = {name: value for name, value, result in points if result.newest}
    speed = run.summary.get("images_per_second")
    figures |= {"measured/images_per_second": float(speed)} if is_number(speed) else {}
    settings = {name: run.setting(name) for name in SETTINGS}
    kept = {name: value for name, value in settings.items() if isinstance(value, bool | int | float | str)}
    for part in hparams(kept, figures) if kept else ():
        board._get_file_writer().add_summary(part)


def tag(result: Measured, figure: str) -> str:
    """`measured/test/few_label_5_labels_a_class_top1`: another for each measurement."""
    words = f"{result.measure} {result.variant} {figure}".replace("%", "percent")
    name = "_".join(re.findall(r"[\w.]+", words))
    return f"measured/{result.measured_on}/{name}"
