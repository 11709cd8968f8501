"""One measurement, as a line of evaluations.jsonl tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from byol_cli.report.run_folder import Row, is_number

MEASURES = {
    "linear": "Linear probe",
    "knn": "k-NN",
    "logistic": "Logistic regression",
    "few_label": "Few labels",
    "finetune": "Fine-tuned",
    "supervised": "Supervised",
    "retrieval": "Retrieval",
    "label_free": "Without labels",
}
REPRESENTATIONS = {"trained": "trained", "untrained": "untrained", "pixels": "raw pixels", "scratch": "from scratch"}
WHERE = {
    "test": "the test images",
    "selection": "the selection split, held out of the training images",
    "train": "the training images",
    "all": "all labelled images",
    "pairs": "the named pairs of images",
}
MAX_CLASSES = 100  # of a confusion matrix that is shown
# Settings that tell apart several measurements of one name.
_VARIANTS = ("mode", "labels_per_class", "fraction")
_USUAL = "cached"  # mode of a linear probe, which needs no word


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measurement of one representation.

    Attributes:
        source: in words, which images, and of which checkpoint where there are several.
        images: SHA-256 of the data set, empty where a line of an earlier version has none.
        checkpoint: SHA-256 of its file, or empty.
        step: that it was saved at, or None.
        own: whether these are the images that the run was trained on.
        newest: whether this is the newest checkpoint that was measured.
        measure: a key of MEASURES, or another name.
        variant: in words, what sets it apart from others of that measure.
        representation: a key of REPRESENTATIONS.
        measured_on: test, selection or train.
        figures: by name; accuracies in [0, 1].
        interval: low and high end of the 95 % interval of some of the figures.
        difference: by baseline and figure, the 95 % interval of trained minus baseline, on the same images.
        per_class: accuracy by class name, or None.
        confusion: `confusion[truth][answer]` counts, or None.
        classes: their names in the order of `confusion`.
        settings: everything else that it depends on.
    """

    source: str
    images: str = ""
    checkpoint: str = ""
    step: int | None = None
    own: bool = True
    newest: bool = True
    measure: str
    variant: str = ""
    representation: str
    measured_on: str
    figures: dict[str, float]
    interval: dict[str, tuple[float, float]] = field(default_factory=dict)
    difference: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    per_class: dict[str, float] | None = None
    confusion: list[list[int]] | None = None
    classes: list[str] = field(default_factory=list)
    settings: Row = field(default_factory=dict)

    @property
    def table(self) -> tuple[Any, ...]:
        """Alike for all that is comparable: the same images, the same checkpoint."""
        return self.images or self.source, self.measured_on, *self.weights

    @property
    def weights(self) -> tuple[str, int]:
        """What tells checkpoints apart."""
        return self.checkpoint, -1 if self.step is None else self.step

    @property
    def place(self) -> str:
        """In words, which images of which data set it was measured on."""
        return f"{WHERE.get(self.measured_on, self.measured_on)} of {self.source}"

    @property
    def num_images(self) -> int | None:
        """How many it was measured on, where that is known."""
        if self.confusion is not None:
            return sum(map(sum, self.confusion))
        count = self.settings.get("measured_images", self.settings.get("images"))
        return count if isinstance(count, int) else None

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The largest is what a run is judged by: its own images, its newest checkpoint."""
        return self.own, self.newest, self.weights[1]

    @property
    def title(self) -> str:
        """For people."""
        name = MEASURES.get(self.measure, self.measure.replace("_", " "))
        return f"{name}, {self.variant}" if self.variant else name


def is_result(row: Row) -> bool:
    """Whether a line of evaluations.jsonl has the shape of a measurement."""
    names = ("measure", "representation", "measured_on", "dataset")
    figures = row.get("figures")
    return all(isinstance(row.get(name), str) for name in names) and isinstance(figures, dict)


def measured(row: Row) -> Measured:
    """Of a line for which `is_result` holds."""
    settings = row.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    classes = row.get("classes")
    classes = list(map(str, classes)) if isinstance(classes, list) else []
    data, step, difference = row.get("data"), row.get("step"), row.get("difference")
    return Measured(
        source=data_title({"name": row["dataset"], **(data if isinstance(data, dict) else {})}),
        images=images_of(row),
        checkpoint=str(row.get("checkpoint_sha256") or ""),
        step=step if type(step) is int else None,
        measure=row["measure"],
        variant=", ".join(filter(None, (_variant(name, settings.get(name)) for name in _VARIANTS))),
        representation=row["representation"],
        measured_on=row["measured_on"],
        figures=_numbers(row["figures"]),
        interval=_intervals(row.get("interval")),
        difference={str(name): _intervals(ends) for name, ends in difference.items()}
        if isinstance(difference, dict)
        else {},
        per_class=_numbers(row.get("per_class")) or None,
        confusion=_confusion(row.get("confusion"), len(classes)),
        classes=classes,
        settings=settings,
    )


def _variant(name: str, value: Any) -> str:
    if value is None or value == _USUAL:
        return ""
    if name == "labels_per_class":
        return f"{value} labels a class"
    if name == "fraction" and is_number(value):
        return "all labels" if value == 1 else f"{100 * value:.3g} % of the labels"
    return str(value)


def _numbers(values: Any) -> dict[str, float]:
    if not isinstance(values, dict):
        return {}
    return {str(name): float(value) for name, value in values.items() if is_number(value)}


def _intervals(values: Any) -> dict[str, tuple[float, float]]:
    if not isinstance(values, dict):
        return {}
    return {
        str(name): (float(ends[0]), float(ends[1]))
        for name, ends in values.items()
        if isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))
    }


def _confusion(rows: Any, num_classes: int) -> list[list[int]] | None:
    """`rows` where it is a square matrix of counts, of as many classes as there are names."""
    if not (isinstance(rows, list) and 0 < len(rows) == num_classes <= MAX_CLASSES):
        return None
    square = all(isinstance(row, list) and len(row) == num_classes for row in rows)
    return rows if square and all(type(count) is int and count >= 0 for row in rows for count in row) else None


def images_of(row: Row) -> str:
    """SHA-256 of the data set that a line is of, empty where it has none."""
    return str(row.get("data_fingerprint") or "")


def data_title(dataset: Mapping[str, Any]) -> str:
    """`image_folder (photos)`: a data set by its plain configuration, with where its images lie."""
    places = dataset.get("root") or dataset.get("file_list") or []
    places = [places] if isinstance(places, str) else places
    return f"{dataset['name']} ({', '.join(map(str, places))})" if places else str(dataset["name"])
