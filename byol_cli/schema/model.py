"""Backbones, heads, losses and the target's moving average."""

from dataclasses import dataclass
from typing import Literal

from byol_cli.schema.constraints import Count, HeadWidth, NumBlocks, Probability, StageWidth
from byol_cli.schema.errors import InputError

# Of resnet_small: each stage halves the pixels; ten times wide_resnet50's weights take 3 GB in each of two networks.
MAX_STAGES = 12
MAX_WEIGHTS = 700_000_000


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """`weights=FILE` starts both networks' backbones from that file."""

    name: str
    weights: str | None


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(BackboneConfig):
    """A torchvision ResNet. `small_images`: 3x3 first convolution of stride 1, no max-pool (for about 32 px)."""

    small_images: bool
    zero_init_residual: bool


@dataclass(frozen=True, kw_only=True)
class SmallResNetConfig(BackboneConfig):
    """A ResNet of basic blocks for small images: `widths[i]` channels and `blocks[i]` blocks in stage i."""

    widths: list[StageWidth]
    blocks: list[NumBlocks]
    zero_init_residual: bool

    def __post_init__(self) -> None:
        if not self.widths or len(self.widths) != len(self.blocks):
            raise InputError(f"widths={self.widths} and blocks={self.blocks} must have one number a stage each")
        weights = sum(18 * blocks * width**2 for width, blocks in zip(self.widths, self.blocks, strict=True))
        if len(self.widths) > MAX_STAGES or weights > MAX_WEIGHTS:
            raise InputError(
                f"widths={self.widths} and blocks={self.blocks} are {len(self.widths)} stages of about {weights:,} "
                f"weights: at most {MAX_STAGES} and {MAX_WEIGHTS:,}"
            )


@dataclass(frozen=True, kw_only=True)
class ConvNeXtConfig(BackboneConfig):
    """torchvision's ConvNeXt; it has no BatchNorm of its own."""


@dataclass(frozen=True, kw_only=True)
class TimmConfig(BackboneConfig):
    """A model of the timm library by its name there (needs the extra `timm`)."""

    model: str


@dataclass(frozen=True, kw_only=True)
class CustomConfig(BackboneConfig):
    """Your own: `factory=package.module:function` returns a new nn.Module each time it is called."""

    factory: str


BACKBONES: dict[str, type[BackboneConfig]] = {
    "resnet18": ResNetConfig,
    "resnet34": ResNetConfig,
    "resnet50": ResNetConfig,
    "resnet101": ResNetConfig,
    "wide_resnet50": ResNetConfig,
    "convnext_tiny": ConvNeXtConfig,
    "resnet_small": SmallResNetConfig,
    "timm": TimmConfig,
    "custom": CustomConfig,
}


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Projector and predictor (paper section 3.3). Without the predictor BYOL collapses: for demonstrations only."""

    hidden_dim: HeadWidth
    output_dim: HeadWidth
    predictor: bool


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """How a prediction is compared with the target's projection."""

    name: Literal["byol", "article_consistency"]


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """The target's decay rate tau; scaled to tau^(batch / reference_batch_size) where a reference is set."""

    name: Literal["cosine", "constant"]
    base_tau: Probability
    reference_batch_size: Count | None
