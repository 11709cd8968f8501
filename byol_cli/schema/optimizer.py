"""The optimizers: one dataclass an option of `optimizer=`, picked by `name` from OPTIMIZERS."""

from dataclasses import dataclass
from typing import Annotated, Literal

from byol_cli.schema.constraints import Factor, FactorOrZero, Fraction, NonNegative, Range
from byol_cli.schema.errors import InputError

# Added to a float32 root: 0 there, it would let 0 / 0 into the weights.
Epsilon = Annotated[float, Range(low=1e-30, high=1)]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """`lr` is per 256 images with `scale_lr=linear`; biases and norms decay with `decay_bias_and_norm` only."""

    name: str
    lr: Factor
    scale_lr: Literal["linear", "none"]
    weight_decay: FactorOrZero
    decay_bias_and_norm: bool
    schedule: Literal["cosine", "constant"]
    warmup_epochs: NonNegative | None
    warmup_fraction: Fraction | None

    def __post_init__(self) -> None:
        if (self.warmup_epochs is None) == (self.warmup_fraction is None):
            raise InputError(
                f"warmup_epochs={_text(self.warmup_epochs)} and warmup_fraction={_text(self.warmup_fraction)}: "
                "give exactly one, and null for the other"
            )


def _text(value: float | None) -> str:
    return "null" if value is None else f"{value:g}"


@dataclass(frozen=True, kw_only=True)
class LarsConfig(OptimizerConfig):
    """LARS; biases and norm parameters get the trust ratio only with `adapt_bias_and_norm`."""

    momentum: Fraction
    trust_coefficient: Factor
    adapt_bias_and_norm: bool


@dataclass(frozen=True, kw_only=True)
class SgdConfig(OptimizerConfig):
    """SGD with momentum."""

    momentum: Fraction
    nesterov: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov=true needs a momentum above 0")


@dataclass(frozen=True, kw_only=True)
class AdamConfig(OptimizerConfig):
    """Adam (decay added to the gradient) and AdamW (decay apart from it)."""

    betas: tuple[Fraction, Fraction]
    eps: Epsilon


OPTIMIZERS: dict[str, type[OptimizerConfig]] = {
    "lars": LarsConfig,
    "sgd": SgdConfig,
    "adam": AdamConfig,
    "adamw": AdamConfig,
}
