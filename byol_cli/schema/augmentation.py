"""What is drawn for each view: the distributions T and T' (paper section 3.3 and table 6).

Each operation happens to an image with `probability`; its amount is drawn uniformly from the range given.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from byol_cli.schema.constraints import ImageSide, Probability, Range, UnitInterval
from byol_cli.schema.errors import InputError

FormulasName = Literal["torchvision", "deepmind"]

Degrees = Annotated[float, Range(low=-180, high=180)]
# A strip of a hundredth of its length is no picture any more.
AspectRatio = Annotated[float, Range(low=0.01, high=100)]
# Pixels: narrower than any pixel; wider than any kernel but that of the largest images.
Sigma = Annotated[float, Range(low=0.001, high=1000)]
# Of 1, the range of the values: more leaves nothing of the image.
NoiseStd = Annotated[float, Range(low=0, high=1)]


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A box of `scale` of the image's area and `ratio` width / height, resized to the view's size."""

    probability: Probability
    scale: tuple[UnitInterval, UnitInterval]
    ratio: tuple[AspectRatio, AspectRatio]
    interpolation: Literal["bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Left and right exchanged."""

    probability: Probability


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """About the centre, counter-clockwise; what comes into view from outside is black."""

    probability: Probability
    degrees: tuple[Degrees, Degrees]


@dataclass(frozen=True, kw_only=True)
class Shear:
    """Along x, about the centre."""

    probability: Probability
    degrees: tuple[Annotated[float, Range(low=-89, high=89)], Annotated[float, Range(low=-89, high=89)]]


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """Brightness, contrast, saturation by a factor of 1 - x to 1 + x, hue by -x to x of the circle; random order."""

    probability: Probability
    brightness: Probability
    contrast: Probability
    saturation: Probability
    hue: Annotated[float, Range(low=0, high=0.5)]


@dataclass(frozen=True, kw_only=True)
class Grayscale:
    """All colour removed, the channel count kept."""

    probability: Probability


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Gaussian of `sigma` pixels; the kernel is as wide as `kernel` of the image's side, made odd."""

    probability: Probability
    sigma: tuple[Sigma, Sigma]
    kernel: Probability


@dataclass(frozen=True, kw_only=True)
class Solarize:
    """Values at or above `threshold` (of 1) are inverted."""

    probability: Probability
    threshold: Probability


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gaussian noise of a standard deviation drawn from `std` (of 1), added to every value."""

    probability: Probability
    std: tuple[NoiseStd, NoiseStd]


@dataclass(frozen=True, kw_only=True)
class View:
    """One view's distribution; the operations are applied in the order of these fields (rotation and shear as one)."""

    crop: Crop
    rotation: Rotation
    shear: Shear
    flip: Flip
    jitter: Jitter
    grayscale: Grayscale
    blur: Blur
    solarize: Solarize
    noise: Noise

    def __post_init__(self) -> None:
        ranges = {
            "crop.scale": self.crop.scale,
            "crop.ratio": self.crop.ratio,
            "rotation.degrees": self.rotation.degrees,
            "shear.degrees": self.shear.degrees,
            "blur.sigma": self.blur.sigma,
            "noise.std": self.noise.std,
        }
        for name, (low, high) in ranges.items():
            if low > high:
                raise InputError(f"{name}=[{low:g}, {high:g}]: the first number must not be above the second")

    def check_channels(self, channels: int, *, field: str) -> None:
        """Refuse colour operations that need red, green and blue where the images have `channels` others.

        Raises:
            InputError: naming `field` and the operation.
        """
        if channels == 3:
            return
        colour = {
            "jitter.saturation": self.jitter.saturation if self.jitter.probability else 0,
            "jitter.hue": self.jitter.hue if self.jitter.probability else 0,
            "grayscale.probability": self.grayscale.probability,
        }
        for name, value in colour.items():
            if value:
                raise InputError(
                    f"{field}.{name}={value:g} needs 3 channels (red, green, blue), "
                    f"the images have {channels}; set it to 0"
                )


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Both views' distributions, by whose formulas they are made, their size, and that before evaluation's crop."""

    image_size: ImageSide
    evaluation_resize: ImageSide
    formulas: FormulasName
    view1: View
    view2: View

    def __post_init__(self) -> None:
        if self.evaluation_resize < self.image_size:
            raise InputError(
                f"evaluation_resize={self.evaluation_resize} must not be below image_size={self.image_size}"
            )

    def check_channels(self, channels: int) -> None:
        """Refuse colour operations that make no sense for `channels`; raises InputError."""
        self.view1.check_channels(channels, field="augmentation.view1")
        self.view2.check_channels(channels, field="augmentation.view2")
