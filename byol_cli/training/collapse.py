"""Collapse is never silent: gauges on a fixed held-out batch, and what they say.

The loss of BYOL falls when all images get the same representation, too; these gauges tell the two apart.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from byol_cli.model.byol import OnlineNetwork
from byol_cli.training.gauges import effective_rank, feature_std, mean_cosine
from byol_cli.training.runtime import Runtime

FEATURE_STD_FLOOR = 0.1
EFFECTIVE_RANK_FLOOR = 0.02
MEAN_COSINE_CEILING = 0.99


@dataclass(frozen=True)
class Gauges:
    """Of the online projections of one batch: 1, 1 and 0 when spread out evenly, 0, 0 and 1 when collapsed."""

    feature_std: float
    effective_rank: float
    mean_cosine: float

    def values(self) -> dict[str, float]:
        """By the names of the recorded curves."""
        return {f"gauges/{name}": value for name, value in asdict(self).items()}

    def verdict(self) -> str | None:
        """What is wrong, in words, or None."""
        signs = []
        if not self.feature_std > FEATURE_STD_FLOOR:
            signs.append(f"feature std {self.feature_std:.3f} (below {FEATURE_STD_FLOOR})")
        if not self.effective_rank > EFFECTIVE_RANK_FLOOR:
            signs.append(f"effective rank {self.effective_rank:.3f} (below {EFFECTIVE_RANK_FLOOR})")
        if not self.mean_cosine < MEAN_COSINE_CEILING:
            signs.append(f"mean cosine {self.mean_cosine:.3f} (above {MEAN_COSINE_CEILING})")
        return f"the representation is collapsing: {', '.join(signs)}" if signs else None


def read_gauges(online: OnlineNetwork, images: Tensor, runtime: Runtime) -> Gauges:
    """Measure the projections of the fixed batch `images` `(batch, channels, height, width)` in eval mode."""
    online.eval()
    with torch.no_grad(), runtime.autocast():
        projections = online.projector(online.backbone(images)).float().cpu()  # the gauges need float64
    online.train()
    return Gauges(
        feature_std=feature_std(projections),
        effective_rank=effective_rank(projections),
        mean_cosine=mean_cosine(projections),
    )
