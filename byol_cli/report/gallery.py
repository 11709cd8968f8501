"""A sample of the images with their features: what the map, the neighbours and TensorBoard's projector show."""

import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from byol_cli.data.sources import Splits, Subset
from byol_cli.evaluation.features import missing_rows
from byol_cli.evaluation.task import measured_part
from byol_cli.views.counter import hash64

LARGEST = 1000  # images
THUMBNAIL = 48  # pixels a side at most
SHEET_BYTES = 1_500_000
_ORIGINS = {"test": "test images", "selection": "images of the selection split", "train": "training images"}
_GALLERY = 103  # the hash's first word, apart from those of `data.splits.Split`


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Some images in small, and what the backbone makes of them.

    Attributes:
        thumbnails: uint8 `(images, channels, size, size)`.
        features: float32 `(images, dim)`.
        labels: int64 `(images,)`, each image's place in `class_names`, -1 for none; or None.
        class_names: empty where there are no labels.
        names: what people call each image.
        origin: in words, what they are a sample of.
        step: of the checkpoint that the backbone is from.
    """

    thumbnails: Tensor
    features: Tensor
    labels: Tensor | None
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    origin: str
    step: int

    def __len__(self) -> int:
        """Number of images."""
        return len(self.thumbnails)

    def class_of(self, image: int) -> str | None:
        """The name of an image's class, None where it has none."""
        label = -1 if self.labels is None else int(self.labels[image])
        return self.class_names[label] if label >= 0 else None

    def colours(self) -> Tensor:
        """The thumbnails in three channels, uint8; of other than 1 or 3 channels the first is shown."""
        shown = self.thumbnails if self.thumbnails.shape[1] in (1, 3) else self.thumbnails[:, :1]
        return shown.expand(-1, 3, -1, -1)


def make_gallery(
    splits: Splits,
    *,
    batches: Callable[[Subset], Iterable[Tensor]],
    features: Callable[[Subset], Tensor],
    mean: Tensor,
    std: Tensor,
    data: str,
    step: int,
    num_images: int = LARGEST,
) -> Gallery | None:
    """Sample the test images (where there are none the selection split, else the training images).

    Which ones is a pure function of how many there are; where some have labels, only those are taken.

    Args:
        splits: of the run.
        batches: the images of a part in order, normalised, `(batch, channels, size, size)`.
        features: the backbone's, `(images, dim)`, NaN in the rows of images that cannot be read.
        mean: `(channels,)`, which `batches` has taken off.
        std: `(channels,)`, by which it has divided.
        data: the name of the data set, for people.
        step: that the backbone was trained for.
        num_images: at most.

    Returns:
        None where fewer than two images can be read.
    """
    name, part = measured_part(splits)
    origin = _ORIGINS[name]
    part = part.labelled() if len(part.labelled()) > 1 else part
    order = np.argsort(hash64(_GALLERY, np.arange(len(part))), kind="stable")
    sample = part.take(np.sort(order[:num_images]))
    if len(sample) < 2:
        return None
    found = features(sample).float().cpu()
    good = ~missing_rows(found)
    if good.sum() < 2:
        return None
    small = torch.cat([_in_small(images, mean=mean, std=std) for images in batches(sample)])
    kept = torch.nonzero(good).flatten()
    number = f"all {len(part):,}" if len(kept) == len(part) else f"{len(kept):,} of the {len(part):,}"
    labels = None if sample.labels is None else torch.from_numpy(sample.labels)[kept]
    return Gallery(
        thumbnails=small[kept],
        features=found[kept],
        labels=labels,
        class_names=splits.class_names if labels is not None else (),
        names=tuple(sample.name(position) for position in kept.tolist()),
        origin=f"{number} {origin} of {data}",
        step=step,
    )


def _in_small(images: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
    """Normalised images as uint8 of at most THUMBNAIL pixels a side, on the CPU."""
    pixels = images * std.view(-1, 1, 1).to(images.device) + mean.view(-1, 1, 1).to(images.device)
    if pixels.shape[-1] > THUMBNAIL:
        pixels = F.interpolate(pixels, size=(THUMBNAIL, THUMBNAIL), mode="bilinear", antialias=True)
    return (pixels.nan_to_num(0).clamp(0, 1) * 255).round().byte().cpu()


def directions(gallery: Gallery) -> Tensor:
    """The features at length one, `(images, dim)`."""
    return F.normalize(gallery.features.float(), dim=1)


def sheet(gallery: Gallery) -> tuple[bytes, str, int]:
    """All thumbnails on one picture, row by row.

    Returns:
        Its bytes, their kind (png or webp), and the number of columns. Small pictures lose nothing; large ones are
        compressed until they take no more than SHEET_BYTES, if they can.
    """
    columns = math.ceil(math.sqrt(len(gallery)))
    picture = Image.fromarray(mosaic(gallery.colours(), columns=columns).permute(1, 2, 0).contiguous().numpy())
    packed = _packed(picture, format="PNG", optimize=True)
    if len(packed) <= SHEET_BYTES / 3:
        return packed, "png", columns
    for quality in (88, 70, 50, 30):
        packed = _packed(picture, format="WEBP", quality=quality)
        if len(packed) <= SHEET_BYTES:
            break
    return packed, "webp", columns


def mosaic(pictures: Tensor, *, columns: int) -> Tensor:
    """`(pictures, channels, height, width)` beside and below each other; black where none is left."""
    count, channels, height, width = pictures.shape
    rows = math.ceil(count / columns)
    cells = torch.cat([pictures, pictures.new_zeros(rows * columns - count, channels, height, width)])
    cells = cells.view(rows, columns, channels, height, width)
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def _packed(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()
