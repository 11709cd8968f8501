"""The random crop of one view, of decoded images of any sizes or of a batch of equally large ones."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from byol_cli.schema.augmentation import Crop
from byol_cli.views.formulas import Formulas
from byol_cli.views.plan import draw_boxes


class RandomCrop:
    """Cuts a box from each image and resizes it to a square of `image_size` pixels.

    The box depends on the seed, the epoch, the image's place in the data set, its size and the view's number alone.
    """

    def __init__(self, crop: Crop, *, view_index: int, image_size: int, seed: int, formulas: Formulas) -> None:
        """Keep the distribution of boxes, the view's number, the square's side, the run's seed and the formulas."""
        self.crop, self.view_index, self.image_size = crop, view_index, image_size
        self.seed, self.formulas = seed, formulas

    def of_images(self, images: Sequence[Tensor], *, epoch: int, indices: np.ndarray, out: Tensor) -> None:
        """Fill `out`, uint8 (images, channels, image_size, image_size).

        Args:
            images: uint8 (channels, height, width) each, on the CPU.
            epoch: counted from 0.
            indices: int64 (images,), the samples' places in the data set.
            out: on the CPU.
        """
        heights, widths = np.array([image.shape[1:] for image in images]).T
        boxes = self._boxes(heights, widths, epoch, indices).tolist()
        size, how = self.image_size, self.crop.interpolation
        for row, image, box in zip(out, images, boxes, strict=True):
            row.copy_(self.formulas.crop_resize(image, box, size=size, interpolation=how))

    def of_batch(self, images: Tensor, *, epoch: int, indices: np.ndarray) -> Tensor:
        """Crops of uint8 (batch, channels, height, width), of that form and on the same device."""
        heights, widths = np.tile(images.shape[-2:], (len(images), 1)).T
        boxes = self._boxes(heights, widths, epoch, indices)
        size, how = self.image_size, self.crop.interpolation
        return self.formulas.crop_resize_batch(images, boxes, size=size, interpolation=how)

    def _boxes(self, heights: np.ndarray, widths: np.ndarray, epoch: int, indices: np.ndarray) -> np.ndarray:
        return draw_boxes(
            self.crop,
            sizes=self.formulas.box_sizes,
            seed=self.seed,
            epoch=epoch,
            indices=indices,
            view_index=self.view_index,
            heights=heights,
            widths=widths,
        )
