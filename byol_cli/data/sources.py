"""Parts of image sets: what a data set offers (Sources), and what a run makes of it (Splits)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from byol_cli.data.bad_images import BadImages
from byol_cli.data.images import ImageSet


@dataclass(frozen=True, eq=False)
class Subset:
    """Some images of a set: `indices`, int64, are their places in it."""

    images: ImageSet
    indices: np.ndarray

    def __len__(self) -> int:
        """Number of images in this part."""
        return len(self.indices)

    @property
    def labels(self) -> np.ndarray | None:
        """int64 (images,), -1 for an image without a label; None where the set has no labels."""
        return None if self.images.labels is None else self.images.labels[self.indices]

    @property
    def has_labels(self) -> bool:
        """Whether the set has labels."""
        return self.images.labels is not None

    def name(self, position: int) -> str:
        """What people call the image at `position` of this part."""
        return self.images.name(int(self.indices[position]))

    def take(self, positions: np.ndarray) -> "Subset":
        """The images at `positions` (numbers or a mask) of this part."""
        return Subset(self.images, self.indices[positions])

    def labelled(self) -> "Subset":
        """The images that have a label; all of them where the set has none."""
        labels = self.labels
        return self if labels is None else self.take(labels >= 0)


def whole(images: ImageSet) -> Subset:
    """All images of a set."""
    return Subset(images, np.arange(len(images), dtype=np.int64))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sources:
    """What a data set offers.

    Attributes:
        pretrain: to train on, labels unused.
        labelled: training images for measurements; the same as `pretrain` unless that has images of its own.
        test: for the final measurement, or None.
        origin: in words, what was taken as labels.
    """

    pretrain: Subset
    labelled: Subset
    test: Subset | None
    origin: str

    @property
    def num_images(self) -> int:
        """Number of images in all sets together."""
        parts = [self.pretrain, self.labelled, *([] if self.test is None else [self.test])]
        return sum(map(len, {id(part.images): part.images for part in parts}.values()))

    def change(self, change: Callable[[ImageSet], ImageSet]) -> "Sources":
        """Each image set changed once, and shared as it was shared before."""
        changed: dict[int, ImageSet] = {}

        def of(subset: Subset) -> Subset:
            key = id(subset.images)
            if key not in changed:
                changed[key] = change(subset.images)
            return Subset(changed[key], subset.indices)

        return replace(
            self,
            pretrain=of(self.pretrain),
            labelled=of(self.labelled),
            test=None if self.test is None else of(self.test),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """What a run uses.

    Attributes:
        pretrain: BYOL trains on these.
        train: labelled images that probes are fitted on; all training images where there are no labels.
        selection: held out of both: choices are made on it. Empty with dataset.selection_fraction=0.
        test: touched once, at the end; or None.
        class_names: empty where there are no labels.
        fingerprint: SHA-256 over the images, labels and splits, in hexadecimal.
        channels: of every image.
        bad_images: those that could not be read so far.
    """

    pretrain: Subset
    train: Subset
    selection: Subset
    test: Subset | None
    class_names: tuple[str, ...]
    fingerprint: str
    channels: int
    bad_images: BadImages
