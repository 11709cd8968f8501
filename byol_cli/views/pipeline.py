"""The two views of every image: crops where the images are decoded, all the rest where the network is."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from byol_cli.schema.augmentation import FormulasName, View
from byol_cli.views.formulas import FORMULAS, Formulas, apply_photometric_
from byol_cli.views.geometry import affine_batch_, flip_batch_
from byol_cli.views.photometric import normalize
from byol_cli.views.plan import ViewPlan, draw_plan
from byol_cli.views.random_crop import RandomCrop

CPU_PART = 3 * 2**18
"""Values that a CPU works on at once: more would leave its cache between two operations.

Five views of 224 pixels: a convolution takes 16 channels at once there, so that six views (18) cost as much as ten.
"""


class TwoViews:
    """Makes views 1 and 2, drawn from T and T' (paper, section 3.1), of samples named by epoch and index.

    A view is: crop, shear and rotation, flip, jitter, grayscale, blur, solarize, noise, normalisation.
    It depends on the seed, the epoch, the index and the image alone.
    """

    def __init__(self, *, view1: View, view2: View, image_size: int, seed: int, formulas: FormulasName) -> None:
        """Keep the distributions of the two views, their side in pixels, the run's seed and the set of formulas."""
        self.views = (view1, view2)
        self.image_size = image_size
        self.seed = seed
        self.formulas = FORMULAS[formulas]
        self.crops = [
            RandomCrop(view.crop, view_index=number, image_size=image_size, seed=seed, formulas=self.formulas)
            for number, view in enumerate(self.views)
        ]

    def crops_of(self, images: Sequence[Tensor], *, epoch: int, indices: np.ndarray) -> Tensor:
        """Both crops of decoded images of any sizes.

        Args:
            images: uint8 (channels, height, width) each, on the CPU.
            epoch: counted from 0.
            indices: int64 (images,), the samples' places in the data set.

        Returns:
            uint8 (2, images, channels, image_size, image_size).
        """
        crops = torch.empty(2, len(images), len(images[0]), self.image_size, self.image_size, dtype=torch.uint8)
        for crop, out in zip(self.crops, crops, strict=True):
            crop.of_images(images, epoch=epoch, indices=indices, out=out)
        return crops

    def crops_of_batch(self, images: Tensor, *, epoch: int, indices: np.ndarray) -> Tensor:
        """Both crops of a batch of equally large images in memory.

        Args:
            images: uint8 (batch, channels, height, width) on any device.
            epoch: counted from 0.
            indices: int64 (batch,), the samples' places in the data set.

        Returns:
            uint8 (2, batch, channels, image_size, image_size) on the images' device.
        """
        return torch.stack([crop.of_batch(images, epoch=epoch, indices=indices) for crop in self.crops])

    def finish(
        self, crops: Tensor, *, epoch: int, indices: np.ndarray, mean: Tensor, std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Turn crops into the views that the networks see; outside autocast, which would blur in half precision.

        Args:
            crops: uint8 (2, batch, channels, image_size, image_size) on any device.
            epoch: counted from 0.
            indices: int64 (batch,), the samples' places in the data set.
            mean: (channels,) on the crops' device, of values in [0, 1].
            std: the same.

        Returns:
            Views 1 and 2, float32 (batch, channels, image_size, image_size) each, on the crops' device.
        """
        view1, view2 = (
            _finish(
                crops[number],
                draw_plan(
                    view,
                    seed=self.seed,
                    epoch=epoch,
                    indices=indices,
                    view_index=number,
                    blur_kernel=self.formulas.blur_taps(fraction=view.blur.kernel, image_size=self.image_size),
                ),
                self.formulas,
                mean=mean,
                std=std,
            )
            for number, view in enumerate(self.views)
        )
        return view1, view2


def _finish(crops: Tensor, plan: ViewPlan, formulas: Formulas, *, mean: Tensor, std: Tensor) -> Tensor:
    part = max(1, CPU_PART // crops[0].numel()) if crops.device.type == "cpu" else len(crops)
    views = torch.empty(crops.shape, device=crops.device)
    for start in range(0, len(crops), part):
        samples = slice(start, start + part)
        images = _change(crops[samples], plan.select(samples), formulas)
        views[samples] = normalize(images, mean, std)
    return views


def _change(crops: Tensor, plan: ViewPlan, formulas: Formulas) -> Tensor:
    images = crops.float().mul_(1 / 255)
    affine_batch_(images, plan.angle, plan.shear)
    flip_batch_(images, plan.flip)
    apply_photometric_(images, plan, formulas)
    return images
