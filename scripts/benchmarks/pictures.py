"""Photo-like JPEG files, the same every time: what decoding and cropping cost depends on the detail and the size."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

NUM_PHOTOS, NUM_ICONS = 64, 256
SEED = 0


def write_pictures(folder: Path, number: int, *, height: int, width: int, quality: int, grain: float) -> None:
    """Write `number` different pictures into the new folder `folder`; `grain` is that of `picture`."""
    generator = torch.Generator().manual_seed(SEED)
    folder.mkdir()
    for place in range(number):
        pixels = picture(height, width, grain=grain, generator=generator)
        to_pil_image(pixels).save(folder / f"{place:03}.jpg", quality=quality)


def picture(height: int, width: int, *, grain: float, generator: torch.Generator) -> Tensor:
    """float32 (3, height, width) in [0, 1].

    Colours change smoothly at every scale, the finer the fainter, as in photographs; `grain` is the standard deviation
    of the noise on top.
    """
    colours, strength = torch.full((1, 3, 2, 2 * width // height), 0.5), 0.25
    while colours.shape[2] < min(height, width):
        colours += strength * torch.randn(colours.shape, generator=generator)
        colours, strength = F.interpolate(colours, scale_factor=2, mode="bicubic"), strength * 0.6
    colours = F.interpolate(colours, size=(height, width), mode="bilinear", antialias=True)[0]
    return (colours + grain * torch.randn(1, height, width, generator=generator)).clamp_(0, 1)


def link_pictures(source: Path, folder: Path) -> None:
    """Make the new folder `folder` of links to JPEG files below `source`, NUM_PHOTOS at most."""
    folder.mkdir()
    for place, file in enumerate(jpeg_files(source)[:NUM_PHOTOS]):
        (folder / f"{place:03}.jpg").symlink_to(Path(file).resolve())


def jpeg_files(folder: Path) -> list[str]:
    """The JPEG files below `folder`, in order."""
    return sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
