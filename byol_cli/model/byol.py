"""The two networks of BYOL (paper section 3.1, figure 2): the online network learns, the target follows it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from byol_cli.model.backbones import Backbone
from byol_cli.model.heads import predictor, projector
from byol_cli.schema.errors import InputError


class OnlineNetwork(nn.Module):
    """Backbone, projector and predictor: predicts the target's projection of the other view."""

    def __init__(self, *, backbone: Backbone, projector: nn.Module, predictor: nn.Module | None) -> None:
        """Without a predictor (None) the predictions are the projections."""
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.predictor = predictor

    def forward(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor]:
        """Two views (batch, channels, height, width) -> their predictions, each (batch, output_dim).

        One view after the other, so that BatchNorm takes its statistics from each view alone, as DeepMind's code does.
        """
        return self._predict(view1), self._predict(view2)

    def _predict(self, view: Tensor) -> Tensor:
        projection = self.projector(self.backbone(view))
        return projection if self.predictor is None else self.predictor(projection)


class TargetNetwork(nn.Module):
    """Backbone and projector, moved by the online network's weights alone. Its buffers are its own.

    It stays in train mode: BatchNorm uses the statistics of the batch, as DeepMind's code does.
    """

    def __init__(self, *, backbone: Backbone, projector: nn.Module) -> None:
        """Takes no gradient from here on."""
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor]:
        """Two views (batch, channels, height, width) -> their projections, each (batch, output_dim), no gradient."""
        return self.projector(self.backbone(view1)), self.projector(self.backbone(view2))

    @torch.no_grad()
    def move_towards(self, online: OnlineNetwork, tau: float) -> None:
        """target <- tau target + (1 - tau) online, for every parameter of backbone and projector (paper eq. 1)."""
        own: list[Tensor] = list(self.parameters())
        followed: list[Tensor] = [*online.backbone.parameters(), *online.projector.parameters()]
        torch._foreach_lerp_(own, followed, 1 - tau)


def build_networks(
    make_backbone: Callable[[], Backbone], *, hidden_dim: int, output_dim: int, with_predictor: bool
) -> tuple[OnlineNetwork, TargetNetwork]:
    """Online and target network, initialised independently from torch's generator, as DeepMind's code does.

    `make_backbone` is called twice. Raises InputError where it returns the same parameters both times.
    """
    backbone, target_backbone = make_backbone(), make_backbone()
    if {id(p) for p in backbone.parameters()} & {id(p) for p in target_backbone.parameters()}:
        raise InputError(f"{backbone.setting} must make a new module each time, but the second one shares parameters")
    online = OnlineNetwork(
        backbone=backbone,
        projector=projector(backbone.feature_dim, hidden_dim, output_dim),
        predictor=predictor(output_dim, hidden_dim, output_dim) if with_predictor else None,
    )
    target = TargetNetwork(
        backbone=target_backbone, projector=projector(target_backbone.feature_dim, hidden_dim, output_dim)
    )
    return online, target
