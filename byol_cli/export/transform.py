"""From an image of the user's to what a backbone takes: the same pixels as in measurements."""

import os
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from byol_cli.data.decode import decode, to_channels
from byol_cli.schema.errors import InputError
from byol_cli.views.geometry import resize_short_side
from byol_cli.views.photometric import normalize

EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


@dataclass(frozen=True, kw_only=True)
class Transform:
    """The short side resized (bicubic, antialiased), the centre cropped, values normalised.

    Attributes:
        channels: what images are converted to, from gray or from red, green and blue.
        resize: pixels of the short side before the crop.
        image_size: pixels a side after it.
        mean: one a channel, of values in [0, 1].
        std: the same.
        keeps_exact_size: whether images of `image_size` by `image_size` stay as they are.
    """

    channels: int
    resize: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    keeps_exact_size: bool

    def __call__(self, image: Image.Image | Tensor | str | os.PathLike[str]) -> Tensor:
        """A picture, a file or a tensor, as the backbone takes it but for the batch.

        Args:
            image: a PIL image of 8 bits a channel; the path of a file; or a uint8 tensor (..., channels, height, width)
                of one image or a batch of them.

        Returns:
            float32 (..., channels, image_size, image_size).

        Raises:
            InputError: anything else, or a file that cannot be read.
        """
        pixels = to_channels(_pixels(image, self.channels), self.channels)
        size = [self.image_size, self.image_size]
        if not (self.keeps_exact_size and list(pixels.shape[-2:]) == size):
            pixels = center_crop(resize_short_side(pixels, self.resize), size)
        return normalize(pixels.float() / 255, torch.tensor(self.mean), torch.tensor(self.std))


def _pixels(image: Image.Image | Tensor | str | os.PathLike[str], channels: int) -> Tensor:
    if isinstance(image, (str, os.PathLike)):
        return decode(os.fspath(image), channels)
    if isinstance(image, Image.Image):
        return _picture_pixels(image, gray=channels == 1)
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and image.dim() >= 3:
        return image
    what = f"{image.dtype} of shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
    raise InputError(f"image={what} must be a PIL image, a path or a uint8 tensor (..., channels, height, width)")


def _picture_pixels(picture: Image.Image, *, gray: bool) -> Tensor:
    """Upright by its EXIF orientation, what is transparent on white: as files are decoded for training."""
    if picture.mode not in EIGHT_BITS:
        raise InputError(f"image={picture.mode} has not 8 bits a channel; give the path of its file")
    picture = ImageOps.exif_transpose(picture)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    pixels = np.array(picture.convert("L" if gray else "RGB"))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
