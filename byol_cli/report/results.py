"""What was measured, from evaluations.jsonl, and where that is missing from summary.json."""

from dataclasses import dataclass
from typing import Any

from byol_cli.report.run_folder import Row, RunFolder, is_number

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
    "pairs": "the named pairs of images",
    "all": "all labelled images",
}
MAX_CLASSES = 100  # of a confusion matrix that is shown
# Settings that tell apart several measurements of one name.
_VARIANTS = ("mode", "labels_per_class", "fraction")
_USUAL = "cached"  # mode of a linear probe, which needs no word


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measurement of one representation.

    Attributes:
        dataset: its name.
        measure: a key of MEASURES, or another name.
        variant: in words, what sets it apart from others of that measure.
        representation: a key of REPRESENTATIONS.
        measured_on: test, selection or train.
        figures: by name; accuracies in [0, 1].
        interval: low and high end of the 95 % interval of some of the figures.
        per_class: accuracy by class name, or None.
        confusion: `confusion[truth][answer]` counts, or None.
        classes: their names in the order of `confusion`.
        settings: everything else that it depends on.
    """

    dataset: str
    measure: str
    variant: str
    representation: str
    measured_on: str
    figures: dict[str, float]
    interval: dict[str, tuple[float, float]]
    per_class: dict[str, float] | None
    confusion: list[list[int]] | None
    classes: list[str]
    settings: Row

    @property
    def title(self) -> str:
        """For people."""
        name = MEASURES.get(self.measure, self.measure.replace("_", " "))
        return f"{name}, {self.variant}" if self.variant else name


def measured_in(run: RunFolder) -> list[Measured]:
    """The newest measurement of each kind, data set and representation, in the order in which they came to be."""
    newest: dict[tuple[str, ...], Measured] = {}
    for row in run.evaluations:
        if is_result(row):
            result = _measured(row)
            key = (result.dataset, result.measured_on, result.measure, result.variant, result.representation)
            newest[key] = result
    return list(newest.values()) or _from_summary(run)


def is_result(row: Row) -> bool:
    """Whether a line of evaluations.jsonl has the shape of a measurement."""
    names = ("measure", "representation", "measured_on", "dataset")
    figures = row.get("figures")
    return all(isinstance(row.get(name), str) for name in names) and isinstance(figures, dict)


def _measured(row: Row) -> Measured:
    settings = row.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    classes = row.get("classes")
    classes = list(map(str, classes)) if isinstance(classes, list) else []
    return Measured(
        dataset=row["dataset"],
        measure=row["measure"],
        variant=", ".join(filter(None, (_variant(name, settings.get(name)) for name in _VARIANTS))),
        representation=row["representation"],
        measured_on=row["measured_on"],
        figures=_numbers(row["figures"]),
        interval=_intervals(row.get("interval")),
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
        return "all labels" if value == 1 else f"{100 * value:.3g} % of labels"
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


def _from_summary(run: RunFolder) -> list[Measured]:
    """Runs from before evaluations.jsonl, and such as could not write it, have accuracies in their summary."""
    scores = {"trained": run.summary, "untrained": run.summary.get("untrained"), "pixels": run.summary.get("pixels")}
    fields = {"linear": "linear_top1", "knn": "knn_top1", "few_label": "few_label_top1"}
    dataset = str(run.setting("dataset.name") or "the data")
    found = []
    for name, values in scores.items():
        values = values if isinstance(values, dict) else {}
        for measure, figure, value in [
            *((measure, "top1", values.get(field)) for measure, field in fields.items()),
            ("label_free", "effective_rank", values.get("effective_rank")),
        ]:
            where = str(values.get("measured_on") or "test") if figure == "top1" else "train"
            if is_number(value):
                found.append(_bare(dataset, measure, name, where, {figure: float(value)}))
    return found


def _bare(dataset: str, measure: str, representation: str, where: str, figures: dict[str, float]) -> Measured:
    return Measured(
        dataset=dataset,
        measure=measure,
        variant="",
        representation=representation,
        measured_on=where,
        figures=figures,
        interval={},
        per_class=None,
        confusion=None,
        classes=[],
        settings={},
    )
