"""How a run's images are looked at when they are measured: their centres, random crops of them, and pairs of views."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor

from byol_cli.data.centre_crops import evaluation_batches
from byol_cli.data.sources import Subset
from byol_cli.data.training_crops import training_crops
from byol_cli.data.view_pairs import view_pairs
from byol_cli.evaluation.classifier import Reading
from byol_cli.schema.augmentation import AugmentationConfig
from byol_cli.views.crop_flip import CropFlip
from byol_cli.views.pipeline import TwoViews


@dataclass(frozen=True, kw_only=True)
class ViewPairs:
    """Two views of each image.

    Attributes:
        batches: `part` to `(view 1, view 2)` of its images, in order.
        facts: what they depend on besides the images.
    """

    batches: Callable[[Subset], Iterable[tuple[Tensor, Tensor]]]
    facts: str


def reading_by(augmentation: AugmentationConfig, *, seed: int, batch_size: int, **how: Any) -> Reading:
    """Centres, and crops and flips of view 1.

    Args:
        augmentation: of the run.
        seed: of the crops.
        batch_size: images whose centres are taken at once.
        how: num_workers, timeout_seconds, bad_images, device, mean, std and group of `evaluation_batches`.
    """
    crop_flip = CropFlip(
        view=augmentation.view1, image_size=augmentation.image_size, seed=seed, formulas=augmentation.formulas
    )
    return Reading(
        crops=partial(training_crops, crop_flip=crop_flip, **how),
        centres=partial(
            evaluation_batches,
            resize=augmentation.evaluation_resize,
            image_size=augmentation.image_size,
            batch_size=batch_size,
            **how,
        ),
        crop_settings={"crop": asdict(augmentation.view1.crop), "flip": asdict(augmentation.view1.flip)},
    )


def pairs_by(augmentation: AugmentationConfig, *, seed: int, batch_size: int, **how: Any) -> ViewPairs:
    """Views 1 and 2 as pre-training by `augmentation` and `seed` had them in its first epoch.

    Args:
        augmentation: of the run.
        seed: of the run.
        batch_size: images whose views are made at once.
        how: num_workers, timeout_seconds, bad_images, device, mean, std and group of `view_pairs`.
    """
    views = TwoViews(
        view1=augmentation.view1,
        view2=augmentation.view2,
        image_size=augmentation.image_size,
        seed=seed,
        formulas=augmentation.formulas,
    )
    return ViewPairs(
        batches=partial(view_pairs, views=views, batch_size=batch_size, **how),
        facts=json.dumps({"views": asdict(augmentation), "seed": seed}, sort_keys=True),
    )
