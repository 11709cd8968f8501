"""format=torchvision: the state dict of torchvision's model of that name, but for its classifier."""

import io
from pathlib import Path

import torch

from byol_cli.export.trained import TrainedBackbone
from byol_cli.schema.errors import InputError
from byol_cli.schema.model import CustomConfig, ResNetConfig, TimmConfig

CLASSIFIERS = {
    "resnet18": "fc",
    "resnet34": "fc",
    "resnet50": "fc",
    "resnet101": "fc",
    "wide_resnet50": "fc",
    "convnext_tiny": "classifier[2]",
}
"""What takes features to classes there, by our names of its models."""

TORCHVISION_NAMES = {name: "wide_resnet50_2" if name == "wide_resnet50" else name for name in CLASSIFIERS}

ANYTHING = "format=safetensors and format=onnx take it"


def check_torchvision(trained: TrainedBackbone) -> None:
    """Raises InputError, with the reason, for a backbone that is not torchvision's own."""
    check_known(trained, library="torchvision")
    if isinstance(trained.config.backbone, TimmConfig):
        raise InputError(f"format=torchvision: {trained.architecture} is timm's; format=timm is for it")
    name = TORCHVISION_NAMES[trained.config.backbone.name]
    if trained.channels != 3:
        raise InputError(
            f"format=torchvision: torchvision's {name} takes 3 channels, this backbone {trained.channels}; {ANYTHING}"
        )
    check_stem(trained, library="torchvision", name=name)


def write_torchvision(trained: TrainedBackbone, path: Path) -> None:
    """A file for `load_state_dict(torch.load(path, weights_only=True))`."""
    archive = io.BytesIO()  # torch.save to a file tells of a full disk in other words each time
    torch.save({name: tensor.clone() for name, tensor in trained.backbone.network.state_dict().items()}, archive)
    path.write_bytes(archive.getbuffer())


def torchvision_code(trained: TrainedBackbone, file_name: str) -> str:
    """Python that makes `model`."""
    name = trained.config.backbone.name
    return f"""\
import torch
from torchvision import models

model = models.{TORCHVISION_NAMES[name]}()
model.{CLASSIFIERS[name]} = torch.nn.Identity()  # or a classifier of yours, after loading
model.load_state_dict(torch.load({file_name!r}, weights_only=True))
model.eval()"""


def check_known(trained: TrainedBackbone, *, library: str) -> None:
    """Raises InputError for a backbone that neither library has."""
    backbone = trained.config.backbone
    if isinstance(backbone, CustomConfig):
        raise InputError(f"format={library}: {backbone.factory} is code of your own, not {library}'s; {ANYTHING}")
    if backbone.name not in CLASSIFIERS and not isinstance(backbone, TimmConfig):
        raise InputError(f"format={library}: {library} has no {backbone.name}; {ANYTHING}")


def check_stem(trained: TrainedBackbone, *, library: str, name: str) -> None:
    """Raises InputError for a ResNet that begins in another way than the library's."""
    backbone = trained.config.backbone
    if isinstance(backbone, ResNetConfig) and backbone.small_images:
        raise InputError(
            f"format={library}: {library}'s {name} begins with a 7x7 convolution and a max-pool, this backbone with a "
            f"3x3 convolution alone (backbone.small_images=true); {ANYTHING}"
        )
