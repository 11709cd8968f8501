"""What there is to tell apart, and the rule of what is measured on: the test images, else the selection split."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from byol_cli.data.labels import describe
from byol_cli.data.sources import Splits, Subset
from byol_cli.schema.errors import InputError

Part = Literal["test", "selection", "train"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Images with labels.

    Attributes:
        train: to train on.
        chooser: the selection split, which chooses; None where there is none, or where it is measured on.
        measured: the test set, else the selection split.
        measured_on: which of them it is.
        class_names: of all labels.
    """

    train: Subset
    chooser: Subset | None
    measured: Subset
    measured_on: Part
    class_names: tuple[str, ...]


def measured_part(splits: Splits) -> tuple[Part, Subset]:
    """The test images, else the selection split, and where nothing is held out the training images."""
    parts: dict[Part, Subset | None] = {"test": splits.test, "selection": splits.selection}
    return next(((name, part) for name, part in parts.items() if part), ("train", splits.train))


def has_classes(splits: Splits) -> bool:
    """Whether some training images have labels, and not all the same."""
    labels = splits.train.labels
    return labels is not None and len(np.unique(labels[labels >= 0])) > 1


def task_of(splits: Splits, *, measure: str) -> Task:
    """What `splits` offer to `measure`.

    Raises:
        InputError: there are no labels, or one class alone; nothing is held out; or test images that have a root of
            their own are of a class that no training image has.
    """
    train, selection = splits.train.labelled(), splits.selection.labelled()
    labels, class_names = train.labels, splits.class_names
    if labels is None or not len(labels):
        raise InputError(f"evaluation={measure} needs labelled training images, and there are none")
    if not has_classes(splits):
        raise InputError(
            f"evaluation={measure} needs two classes or more, "
            f"but all labelled training images are of class {class_names[labels[0]]}"
        )
    measured_on, measured = measured_part(splits)
    if measured_on == "train":
        raise InputError(
            f"evaluation={measure} has nothing to measure on: there is no test set, and dataset.selection_fraction=0; "
            "dataset.labels=none measures what takes no labels"
        )
    if measured_on == "test" and measured.images is not train.images:
        _refuse_unknown(measured, labels, class_names)
    return Task(
        train=train,
        chooser=selection if measured_on == "test" and len(selection) else None,
        measured=measured.labelled(),
        measured_on=measured_on,
        class_names=class_names,
    )


def _refuse_unknown(test: Subset, known: np.ndarray, class_names: tuple[str, ...]) -> None:
    assert test.labels is not None
    unknown = np.setdiff1d(test.labels[test.labels >= 0], known)
    if len(unknown):
        names = [class_names[label] for label in np.unique(known)]
        raise InputError(
            f"dataset.test_root: no training image is of class {class_names[unknown[0]]}, they are of "
            f"{describe(names)}; evaluation=[retrieval] alone takes classes that are new"
        )
