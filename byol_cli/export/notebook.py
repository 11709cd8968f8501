"""`byol_cli.load_backbone`: a trained backbone in a notebook or another program."""

import os
import warnings
from pathlib import Path

from torch import Tensor, nn

from byol_cli.export.trained import TrainedBackbone, open_trained
from byol_cli.export.transform import Transform


class LoadedBackbone(nn.Module):
    """Images (batch, channels, image_size, image_size) in, features (batch, feature_dim) out.

    Attributes:
        network: the network itself, with its own parameter names.
        transform: from a PIL image, a path or a uint8 tensor to one normalised image.
        feature_dim: length of a feature vector.
    """

    def __init__(self, trained: TrainedBackbone) -> None:
        """In evaluation mode, on the CPU."""
        super().__init__()
        self.backbone = trained.backbone
        self.feature_dim = trained.backbone.feature_dim
        self.transform = Transform(
            channels=trained.channels,
            resize=trained.resize,
            image_size=trained.image_size,
            mean=tuple(trained.mean),
            std=tuple(trained.std),
            keeps_exact_size=trained.keeps_exact_size,
        )
        self.eval()

    @property
    def network(self) -> nn.Module:
        """Without the average over positions that follows networks which give feature maps."""
        return self.backbone.network

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width), normalised -> (batch, feature_dim)."""
        features: Tensor = self.backbone(images)
        return features


def load_backbone(path: str | os.PathLike[str], factory: str | None = None) -> LoadedBackbone:
    """The trained backbone of a run folder or checkpoint file, on the CPU and in evaluation mode.

    Args:
        path: of the folder or the file.
        factory: `package.module:function` where the run used backbone=custom, named again: a checkpoint never chooses
            code.

    Raises:
        InputError: (of `byol_cli.schema.errors`) there is no good checkpoint, or its code is not named.
    """
    trained = open_trained(
        Path(path),
        field="path",
        factory=factory,
        factory_field="factory",
        say=lambda line: warnings.warn(line.removeprefix("warning: "), stacklevel=6),
    )
    return LoadedBackbone(trained)
