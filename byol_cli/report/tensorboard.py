"""What TensorBoard gets when a run has been measured: a projector with pictures, and the settings with the figures."""

import shutil
from collections.abc import Callable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from byol_cli.report.gallery import Gallery
from byol_cli.report.results import measured_in
from byol_cli.report.run_folder import RunFolder, is_number
from byol_cli.training.recorder import tolerated

SETTINGS = (
    "dataset.name augmentation.image_size backbone.name head.hidden_dim head.output_dim head.predictor loss.name "
    "optimizer.name optimizer.lr optimizer.weight_decay optimizer.schedule ema.name ema.base_tau trainer.epochs "
    "trainer.steps trainer.batch_size seed"
).split()
TAG = "backbone"
_STEP = "00000"  # the folder that add_embedding makes for what has no step
_TABLE = str.maketrans({"\t": " ", "\n": " ", "\r": " "})


def write_board(run: RunFolder, gallery: Gallery | None, *, say: Callable[[str], None]) -> None:
    """Add both to the run's TensorBoard folder; where it cannot be written, `say` is told."""
    folder = run.path / "tensorboard"
    step = run.summary.get("steps")
    with tolerated(folder, say=say), SummaryWriter(str(folder), filename_suffix=".measured") as board:
        if gallery is not None:
            _add_projector(board, gallery)
        _add_hparams(board, run, step=step if isinstance(step, int) else 0)


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


def _add_hparams(board: SummaryWriter, run: RunFolder, *, step: int) -> None:
    """The settings, and the trained backbone's figures; in this very folder, where `add_hparams` would make another."""
    settings = {name: run.setting(name) for name in SETTINGS}
    kept = {name: value for name, value in settings.items() if isinstance(value, bool | int | float | str)}
    own = str(run.setting("dataset.name"))
    figures = {
        f"measured/{result.measure}_{name}": value
        for result in measured_in(run)
        for name, value in result.figures.items()
        if result.representation == "trained" and result.dataset == own
    }
    speed = run.summary.get("images_per_second")
    figures |= {"measured/images_per_second": float(speed)} if is_number(speed) else {}
    if not kept:
        return
    for part in hparams(kept, figures):
        board._get_file_writer().add_summary(part)
    for name, value in figures.items():
        board.add_scalar(name, value, step)
