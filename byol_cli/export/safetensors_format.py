"""format=safetensors: any backbone's weights by their own names, with all that is needed to use them as metadata."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from byol_cli.export.metadata import metadata
from byol_cli.export.trained import TrainedBackbone


def check_safetensors(trained: TrainedBackbone) -> None:
    """It takes every backbone."""


def write_safetensors(trained: TrainedBackbone, path: Path) -> None:
    """Weights and metadata."""
    save(trained.backbone.network.state_dict(), path, metadata(trained))


def save(weights: dict[str, Tensor], path: Path, facts: dict[str, str]) -> None:
    """Each tensor in memory of its own, as the format asks; `format: pt` is what its other readers look for."""
    save_file({name: tensor.clone().contiguous() for name, tensor in weights.items()}, path, {"format": "pt", **facts})


def safetensors_code(trained: TrainedBackbone, file_name: str) -> str:
    """Python that makes `model`."""
    sizes = {"in_channels": trained.channels, "image_size": trained.image_size}
    options = {name: value for name, value in trained.options.items() if name != "name"}
    arguments = "".join(f",\n    {name}={value!r}" for name, value in {**sizes, **options}.items())
    return f"""\
from byol_cli.model.backbones import build_backbone
from safetensors.torch import load_file

model = build_backbone(
    {trained.config.backbone.name!r}{arguments},
)
model.network.load_state_dict(load_file({file_name!r}))
model.eval()"""
