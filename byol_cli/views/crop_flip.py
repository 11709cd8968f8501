"""One random crop and flip of every image, no colour changed: what classifiers are trained on (paper, appendix C.1)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from byol_cli.schema.augmentation import FormulasName, View
from byol_cli.views.counter import uniforms
from byol_cli.views.formulas import FORMULAS
from byol_cli.views.geometry import flip_batch_
from byol_cli.views.photometric import normalize
from byol_cli.views.plan import Slot
from byol_cli.views.random_crop import RandomCrop

VIEW_INDEX = 0


class CropFlip:
    """The crop and the flip of a view, its other operations left out.

    What happens to an image depends on the seed, the epoch, its index and the image's size alone; it is the crop and
    flip that the first of TwoViews makes of the same sample.
    """

    def __init__(self, *, view: View, image_size: int, seed: int, formulas: FormulasName) -> None:
        """Keep the distributions of crop and flip, the crop's side in pixels, the seed and the set of formulas."""
        self.flip, self.image_size, self.seed = view.flip, image_size, seed
        self.crop = RandomCrop(
            view.crop, view_index=VIEW_INDEX, image_size=image_size, seed=seed, formulas=FORMULAS[formulas]
        )

    def crops_of(self, images: Sequence[Tensor], *, epoch: int, indices: np.ndarray) -> Tensor:
        """A crop of each decoded image, of any sizes.

        Args:
            images: uint8 (channels, height, width) each, on the CPU.
            epoch: counted from 0.
            indices: int64 (images,), the samples' places in the data set.

        Returns:
            uint8 (images, channels, image_size, image_size).
        """
        crops = torch.empty(len(images), len(images[0]), self.image_size, self.image_size, dtype=torch.uint8)
        self.crop.of_images(images, epoch=epoch, indices=indices, out=crops)
        return crops

    def crops_of_batch(self, images: Tensor, *, epoch: int, indices: np.ndarray) -> Tensor:
        """The same for equally large images in memory.

        Args:
            images: uint8 (batch, channels, height, width) on any device.
            epoch: counted from 0.
            indices: int64 (batch,), the samples' places in the data set.

        Returns:
            uint8 (batch, channels, image_size, image_size) on the images' device.
        """
        return self.crop.of_batch(images, epoch=epoch, indices=indices)

    def finish(self, crops: Tensor, *, epoch: int, indices: np.ndarray, mean: Tensor, std: Tensor) -> Tensor:
        """Flip and normalise.

        Args:
            crops: uint8 (batch, channels, image_size, image_size) on any device.
            epoch: counted from 0.
            indices: int64 (batch,), the samples' places in the data set.
            mean: (channels,) on the crops' device, of values in [0, 1].
            std: the same.

        Returns:
            float32 of the crops' shape, on their device.
        """
        images = crops.float().mul_(1 / 255)
        draws = uniforms(seed=self.seed, epoch=epoch, indices=indices, view=VIEW_INDEX, num_slots=Slot.CROP)
        flip_batch_(images, torch.from_numpy(draws[:, Slot.FLIP] < self.flip.probability))
        return normalize(images, mean, std)
