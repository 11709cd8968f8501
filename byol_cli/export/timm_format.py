"""format=timm: a file for `timm.create_model(name, num_classes=0, checkpoint_path=FILE)`."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from byol_cli.export.metadata import metadata
from byol_cli.export.safetensors_format import save
from byol_cli.export.torchvision_format import TORCHVISION_NAMES, check_known, check_stem
from byol_cli.export.trained import TrainedBackbone
from byol_cli.schema.model import TimmConfig

# torchvision's ConvNeXt is one list of stages and of what halves the resolution between them.
_CONVNEXT = (
    (r"features\.0\.(\d)", r"stem.\1"),
    (r"features\.([246])\.(\d)", lambda match: f"stages.{int(match[1]) // 2}.downsample.{match[2]}"),
    (r"features\.([1357])\.(\d+)", lambda match: f"stages.{int(match[1]) // 2}.blocks.{match[2]}"),
    (r"\.layer_scale", ".gamma"),
    (r"\.block\.0", ".conv_dw"),
    (r"\.block\.2", ".norm"),
    (r"\.block\.3", ".mlp.fc1"),
    (r"\.block\.5", ".mlp.fc2"),
    (r"classifier\.0", "head.norm"),
)


def check_timm(trained: TrainedBackbone) -> None:
    """Raises InputError, with the reason, for a backbone that timm does not have."""
    check_known(trained, library="timm")
    check_stem(trained, library="timm", name=timm_name(trained))


def write_timm(trained: TrainedBackbone, path: Path) -> None:
    """Weights by timm's names for them."""
    weights = trained.backbone.network.state_dict()
    if trained.config.backbone.name == "convnext_tiny":
        weights = dict(map(_convnext_entry, weights.items()))
    save(weights, path, metadata(trained))


def timm_code(trained: TrainedBackbone, file_name: str) -> str:
    """Python that makes `model`."""
    options = "".join(f", {name}={value!r}" for name, value in _options(trained).items())
    return f"""\
import timm

model = timm.create_model({timm_name(trained)!r}, num_classes=0{options}, checkpoint_path={file_name!r})
model.eval()"""


def timm_name(trained: TrainedBackbone) -> str:
    """What timm calls the architecture."""
    return TORCHVISION_NAMES.get(trained.architecture, trained.architecture)


def _options(trained: TrainedBackbone) -> dict[str, Any]:
    options: dict[str, Any] = {} if trained.channels == 3 else {"in_chans": trained.channels}
    if isinstance(trained.config.backbone, TimmConfig):
        import timm  # the backbone was built by it

        if timm.get_pretrained_cfg_value(trained.architecture, "fixed_input_size"):
            options["img_size"] = trained.image_size
    return options


def _convnext_entry(entry: tuple[str, Tensor]) -> tuple[str, Tensor]:
    name, tensor = entry
    for pattern, replacement in _CONVNEXT:
        name = re.sub(pattern, replacement, name)
    return name, tensor.flatten() if name.endswith(".gamma") else tensor
