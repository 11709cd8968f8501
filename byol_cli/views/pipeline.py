"""The two views of every image: crops where the images are decoded, all the rest where the network is."""

import numpy as np
import torch
from torch import Tensor

from byol_cli.schema.augmentation import View
from byol_cli.views.geometry import affine_batch, crop_resize, crop_resize_batch, flip_batch
from byol_cli.views.photometric import apply_photometric, normalize
from byol_cli.views.plan import ViewPlan, draw_boxes, draw_plan

CPU_PART = 2**20
"""Values that a CPU works on at once: more would leave its cache between two operations."""


class TwoViews:
    """Makes views 1 and 2, drawn from T and T' (paper, section 3.1), of samples named by epoch and index.

    A view is: crop, shear and rotation, flip, jitter, grayscale, blur, solarize, noise, normalisation.
    It depends on the seed, the epoch, the index and the image alone.
    """

    def __init__(self, *, view1: View, view2: View, image_size: int, seed: int) -> None:
        """Keep the distributions of the two views, their side in pixels and the run's seed."""
        self.views = (view1, view2)
        self.image_size = image_size
        self.seed = seed

    def crops_of(self, image: Tensor, *, epoch: int, index: int) -> Tensor:
        """Both crops of one decoded image.

        Args:
            image: uint8 (channels, height, width) on the CPU.
            epoch: counted from 0.
            index: the sample's place in the data set.

        Returns:
            uint8 (2, channels, image_size, image_size).
        """
        boxes = self._boxes(image.shape, epoch=epoch, indices=np.array([index]))
        return torch.stack(
            [
                crop_resize(image, box[0], size=self.image_size, interpolation=view.crop.interpolation)
                for view, box in zip(self.views, boxes, strict=True)
            ]
        )

    def crops_of_batch(self, images: Tensor, *, epoch: int, indices: np.ndarray) -> Tensor:
        """Both crops of a batch of equally large images in memory.

        Args:
            images: uint8 (batch, channels, height, width) on any device.
            epoch: counted from 0.
            indices: int64 (batch,), the samples' places in the data set.

        Returns:
            uint8 (2, batch, channels, image_size, image_size) on the images' device.
        """
        boxes = self._boxes(images.shape, epoch=epoch, indices=indices)
        return torch.stack(
            [
                crop_resize_batch(images, box, size=self.image_size, interpolation=view.crop.interpolation)
                for view, box in zip(self.views, boxes, strict=True)
            ]
        )

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
                    image_size=self.image_size,
                ),
                mean=mean,
                std=std,
            )
            for number, view in enumerate(self.views)
        )
        return view1, view2

    def _boxes(self, shape: torch.Size, *, epoch: int, indices: np.ndarray) -> list[np.ndarray]:
        height, width = shape[-2:]
        return [
            draw_boxes(
                view.crop,
                seed=self.seed,
                epoch=epoch,
                indices=indices,
                view_index=number,
                heights=np.full(len(indices), height),
                widths=np.full(len(indices), width),
            )
            for number, view in enumerate(self.views)
        ]


def _finish(crops: Tensor, plan: ViewPlan, *, mean: Tensor, std: Tensor) -> Tensor:
    part = max(1, CPU_PART // crops[0].numel()) if crops.device.type == "cpu" else len(crops)
    parts = (slice(start, start + part) for start in range(0, len(crops), part))
    return torch.cat([_finish_part(crops[samples], plan.select(samples), mean=mean, std=std) for samples in parts])


def _finish_part(crops: Tensor, plan: ViewPlan, *, mean: Tensor, std: Tensor) -> Tensor:
    images = affine_batch(crops.float() / 255, plan.angle, plan.shear)
    images = apply_photometric(flip_batch(images, plan.flip), plan)
    return normalize(images, mean, std)
