"""Features that the processes extract together, beside those that each extracts alone: raises where they differ."""

import numpy as np
import torch
from torch import nn

from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Subset
from byol_cli.evaluation.features import extract_features
from byol_cli.evaluation.shared_features import features_of_all
from byol_cli.model.backbones import build_backbone
from byol_cli.training.ranks import joined, rank, world_size
from byol_cli.training.runtime import resolve_runtime


def batches_of(part: Subset) -> list[torch.Tensor]:
    """Four images at a time, an image being its own place."""
    return [
        torch.full((len(places), 1, 8, 8), 0.0) + torch.from_numpy(places).view(-1, 1, 1, 1) / 10
        for places in np.split(part.indices, range(4, len(part), 4))
        if len(places)
    ]


if __name__ == "__main__":
    with joined():
        runtime = resolve_runtime(device="cpu", precision="fp32")
        backbone = build_backbone(
            "resnet_small", in_channels=1, image_size=8, widths=[4], blocks=[1], zero_init_residual=False
        )
        for parameter in backbone.parameters():
            nn.init.constant_(parameter, 0.1)
        for buffer in backbone.buffers():
            if buffer.is_floating_point():
                buffer.fill_(1 + rank())  # as where BatchNorm is not synchronised
        images = ArrayImages(images=torch.zeros(30, 1, 8, 8, dtype=torch.uint8), labels=None, class_names=())
        for count in (1, 2, 3, 10, 29):  # fewer than processes, and no multiple of them
            subset = Subset(images, np.random.default_rng(count).permutation(30)[:count])
            together = features_of_all(backbone, subset, batches=batches_of, runtime=runtime)
            for buffer in backbone.buffers():
                assert not buffer.is_floating_point() or bool((buffer == 1).all())  # those of the first
            alone = extract_features(backbone, batches_of(subset), device="cpu", autocast=None)
            assert together.shape == (count, backbone.feature_dim)
            torch.testing.assert_close(together, alone)
        assert world_size() == 3
