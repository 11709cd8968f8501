"""The product's views once more, image by image with torchvision's functional operators: slow, and easy to check."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from byol_cli.schema.augmentation import View
from byol_cli.views.noise import standard_normals
from byol_cli.views.photometric import blur_taps
from byol_cli.views.plan import ViewPlan, draw_boxes, draw_plan, first_fitting_sizes


class Record(NamedTuple):
    """What happens to one image in one view after its crop: a row of a ViewPlan."""

    angle: float
    shear: float
    flip: bool
    adjustments: tuple[float, float, float, float]  # brightness, contrast, saturation, hue
    order: list[int]
    grayscale: bool
    sigma: float
    solarize: bool
    noise_std: float
    noise_key: Tensor


# An adjustment, and the amount that leaves an image as it is.
ADJUSTMENTS: tuple[tuple[Callable[[Tensor, float], Tensor], float], ...] = (
    (TF.adjust_brightness, 1.0),
    (TF.adjust_contrast, 1.0),
    (TF.adjust_saturation, 1.0),
    (TF.adjust_hue, 0.0),
)


class ReferenceViews:
    """Takes the place of byol_cli's TwoViews: the same draws, the same methods, one image at a time on the CPU."""

    def __init__(self, *, view1: View, view2: View, image_size: int, seed: int) -> None:
        """Keep the distributions of the two views, their side in pixels and the run's seed."""
        self.views = (view1, view2)
        self.image_size = image_size
        self.seed = seed

    def crops_of(self, images: Sequence[Tensor], *, epoch: int, indices: np.ndarray) -> Tensor:
        """Both crops of uint8 images (channels, height, width): (2, images, channels, image_size, image_size)."""
        heights, widths = np.array([image.shape[1:] for image in images]).T
        crops = list[Tensor]()
        for number, view in enumerate(self.views):
            boxes = draw_boxes(
                view.crop,
                sizes=first_fitting_sizes,
                seed=self.seed,
                epoch=epoch,
                indices=indices,
                view_index=number,
                heights=heights,
                widths=widths,
            )
            size, mode = [self.image_size] * 2, InterpolationMode(view.crop.interpolation)
            crops += [
                TF.resized_crop(image, *box, size=size, interpolation=mode, antialias=True)
                for image, box in zip(images, boxes.tolist(), strict=True)
            ]
        return torch.stack(crops).unflatten(0, (2, len(images)))

    def crops_of_batch(self, images: Tensor, *, epoch: int, indices: np.ndarray) -> Tensor:
        """Both crops of uint8 images (batch, channels, height, width), on their device."""
        return self.crops_of(list(images.cpu()), epoch=epoch, indices=indices).to(images.device)

    def finish(
        self, crops: Tensor, *, epoch: int, indices: np.ndarray, mean: Tensor, std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Views 1 and 2, float32 (batch, channels, image_size, image_size) each, normalised, on the crops' device."""
        view1, view2 = (
            torch.stack(list(self._finished(batch.cpu(), number, epoch, indices, mean.tolist(), std.tolist())))
            for number, batch in enumerate(crops)
        )
        return view1.to(crops.device), view2.to(crops.device)

    def _finished(
        self, crops: Tensor, number: int, epoch: int, indices: np.ndarray, mean: list[float], std: list[float]
    ) -> Iterator[Tensor]:
        view = self.views[number]
        taps = blur_taps(fraction=view.blur.kernel, image_size=self.image_size)
        plan = draw_plan(view, seed=self.seed, epoch=epoch, indices=indices, view_index=number, blur_kernel=taps)
        for crop, record in zip(crops, records(plan), strict=True):
            image = changed(crop.float() / 255, record, taps=taps, threshold=view.solarize.threshold)
            yield TF.normalize(image, mean, std)


def records(plan: ViewPlan) -> Iterator[Record]:
    """A batch's plan, image by image."""
    adjustments = torch.stack([plan.brightness, plan.contrast, plan.saturation, plan.hue], dim=1).tolist()
    columns = [getattr(plan, name).tolist() for name in Record._fields[:3]]
    others = [getattr(plan, name).tolist() for name in Record._fields[4:-1]]
    return map(Record._make, zip(*columns, adjustments, *others, plan.noise_key.split(1), strict=True))


def changed(image: Tensor, record: Record, *, taps: int, threshold: float) -> Tensor:
    """One crop, float32 (channels, image_size, image_size) in [0, 1], after everything but normalisation."""
    if record.angle or record.shear:
        bilinear = InterpolationMode.BILINEAR  # torchvision counts angles clockwise
        image = TF.affine(image, -record.angle, [0.0, 0.0], 1.0, [record.shear, 0.0], bilinear)
    if record.flip:
        image = TF.horizontal_flip(image)
    for place in record.order:
        adjust, neutral = ADJUSTMENTS[place]
        if record.adjustments[place] != neutral:
            image = adjust(image, record.adjustments[place])
    if record.grayscale:
        image = TF.rgb_to_grayscale(image, len(image))
    if record.sigma:
        image = TF.gaussian_blur(image, [taps, taps], [record.sigma, record.sigma])
    if record.solarize:
        image = TF.solarize(image, threshold)
    if record.noise_std:
        noise = standard_normals(record.noise_key, image.numel()).view_as(image)
        image = (image + record.noise_std * noise).clamp(0, 1)
    return image
