"""The formats of `byol-export`, and the export itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from byol_cli.export.card import card
from byol_cli.export.onnx_format import check_onnx, onnx_code, write_onnx
from byol_cli.export.safetensors_format import check_safetensors, safetensors_code, write_safetensors
from byol_cli.export.timm_format import check_timm, timm_code, write_timm
from byol_cli.export.torchvision_format import check_torchvision, torchvision_code, write_torchvision
from byol_cli.export.trained import TrainedBackbone
from byol_cli.export.whole_file import beside, make_folder, refuse_existing, written_whole
from byol_cli.schema.export import SUFFIXES


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        check: raises InputError, with the reason, for a backbone that it cannot hold.
        write: the file.
        code: Python that loads the file as `model`, for the model card.
    """

    check: Callable[[TrainedBackbone], None]
    write: Callable[[TrainedBackbone, Path], None]
    code: Callable[[TrainedBackbone, str], str]


FORMATS = {
    "torchvision": Format(check_torchvision, write_torchvision, torchvision_code),
    "timm": Format(check_timm, write_timm, timm_code),
    "safetensors": Format(check_safetensors, write_safetensors, safetensors_code),
    "onnx": Format(check_onnx, write_onnx, onnx_code),
}


def export(trained: TrainedBackbone, format_name: str, path: Path, *, overwrite: bool) -> Path:
    """Write the backbone to `path` and its model card beside it, both or neither; returns the card's path.

    Raises:
        InputError: the format cannot hold it, a file is there already, or it cannot be written.
    """
    chosen, card_path = FORMATS[format_name], beside(path, "card.md")
    refuse_existing(path, card_path, overwrite=overwrite)
    chosen.check(trained)
    make_folder(path.parent, output=path)
    with written_whole(path) as draft:
        chosen.write(trained, draft)
        with written_whole(card_path) as card_draft:
            text = card(trained, format_name, path.name, chosen.code(trained, path.name))
            card_draft.write_text(text, encoding="utf-8")
    return card_path


def usual_path(trained: TrainedBackbone, format_name: str) -> Path:
    """RUN/export/torchvision/resnet50.pth: a folder a format, as each has a card of its own."""
    return trained.folder / "export" / format_name / f"{trained.architecture}{SUFFIXES[format_name]}"
