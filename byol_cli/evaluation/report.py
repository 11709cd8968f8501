"""Results side by side: the table for the terminal, and the figures of summary.json."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from byol_cli.evaluation.results import Result

_ACCURACY_COLUMNS = {"linear": "linear_top1", "k-NN": "knn_top1", "few-label": "few_label_top1"}
_LABEL_FREE_COLUMNS = {"effective rank": "effective_rank", "alignment": "alignment", "uniformity": "uniformity"}
_CAPTIONS = {
    "test": "accuracy on the test images",
    "selection": "accuracy on the selection split, held out of the training images (there is no test set)",
}
_LABEL_FREE_CAPTION = "effective rank of the features, from 0 (all alike) to 1 (spread over all dimensions)"
_RETRIEVAL_TITLES = {"map": "mAP", "equal_error_rate": "equal error rate"}
_RETRIEVAL_CAPTIONS = {
    "test": "search and verification among the test images",
    "selection": "search and verification among the images of the selection split",
    "train": "search and verification among the training images",
    "all": "search and verification among all labelled images",
    "pairs": "verification of the named pairs",
}
_ROWS = {"trained": "trained backbone", "untrained": "untrained backbone", "pixels": "raw pixels"}
_AMOUNTS = {"labels_per_class": "{:,} a class", "fraction": "{:.3g} of the labels"}


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Accuracies in [0, 1] on the images of `measured_on`, None where not measured; effective rank in [0, 1].

    `measured_on` is None where labels are missing or all the same; then all accuracies are None. Of several numbers of
    labels, few_label_top1 is that of the first.
    """

    linear_top1: float | None
    knn_top1: float | None
    few_label_top1: float | None
    effective_rank: float
    measured_on: str | None


def scores_of(results: Iterable[Result], representation: str, *, measured_on: str | None) -> Scores | None:
    """The figures that summary.json has of a representation; None where it was not measured."""
    figures: dict[str, dict[str, float]] = {}
    for result in results:
        if result.representation == representation:
            figures.setdefault(result.measure, result.figures)
    if "label_free" not in figures:
        return None
    return Scores(
        linear_top1=figures.get("linear", {}).get("top1"),
        knn_top1=figures.get("knn", {}).get("top1"),
        few_label_top1=figures.get("few_label", {}).get("top1"),
        effective_rank=figures["label_free"]["effective_rank"],
        measured_on=measured_on,
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every result, of the trained backbone and of what it must beat: itself untrained, and the pixels where few.

    `measured_on` is test or selection, train where nothing is held out, None where labels are missing or all the same.
    """

    results: tuple[Result, ...]
    measured_on: str | None

    def summary(self) -> dict[str, Any]:
        """For summary.json."""
        trained, untrained, pixels = (self._scores(name) for name in _ROWS)
        assert trained is not None
        assert untrained is not None
        return {
            **asdict(trained),
            "untrained": asdict(untrained),
            "pixels": None if pixels is None else asdict(pixels),
        }

    def table(self) -> str:
        """For the terminal: all representations side by side, and below what there is to say of the trained one."""
        lines = self._accuracies() if self._has_accuracies else self._label_free()
        more = [
            line
            for result in self.results
            if result.representation == "trained" or result.measure in ("finetune", "supervised")
            for line in more_of(result)
        ]
        return "\n".join([*lines, *([""] if more else []), *more, *self._retrieval()])

    def _retrieval(self) -> list[str]:
        found = [result for result in self.results if result.measure == "retrieval"]
        lines = []
        for measured_on in dict.fromkeys(result.measured_on for result in found):
            alike = {result.representation: result for result in found if result.measured_on == measured_on}
            names = [
                name for name in alike["trained"].figures if name.startswith(("recall_at_", "map", "equal_error_rate"))
            ]
            rows = {_ROWS[which]: [alike[which].figures[name] for name in names] for which in _ROWS if which in alike}
            titles = [_RETRIEVAL_TITLES.get(name, name.replace("recall_at_", "recall@")) for name in names]
            lines += ["", _RETRIEVAL_CAPTIONS[measured_on], *aligned(titles, rows)]
        return lines

    def _scores(self, representation: str) -> Scores | None:
        return scores_of(self.results, representation, measured_on=self.measured_on)

    @property
    def _has_accuracies(self) -> bool:
        return any(result.measure in ("linear", "knn", "few_label", "logistic") for result in self.results)

    @property
    def _present(self) -> list[str]:
        return [name for name in _ROWS if self._scores(name) is not None]

    def _label_free(self) -> list[str]:
        found = {result.representation: result.figures for result in self.results if result.measure == "label_free"}
        caption = _LABEL_FREE_CAPTION if self.measured_on else f"no labels: {_LABEL_FREE_CAPTION}"
        rows = {
            title: [found[name].get(field) for field in _LABEL_FREE_COLUMNS.values()]
            for name, title in _ROWS.items()
            if name in found
        }
        return [caption, *aligned(_LABEL_FREE_COLUMNS, rows)]

    def _accuracies(self) -> list[str]:
        columns = [*_ACCURACY_COLUMNS]
        cells = {
            name: [getattr(self._scores(name), field) for field in _ACCURACY_COLUMNS.values()] for name in self._present
        }
        logistic = {
            result.representation: result.figures["top1"] for result in self.results if result.measure == "logistic"
        }
        if logistic:
            columns.append("logistic")
            cells = {name: [*values, logistic.get(name)] for name, values in cells.items()}
        rows = {_ROWS[name]: values for name, values in cells.items()}
        return [f"{_CAPTIONS[self.measured_on or 'test']}{self._skipped()}", *aligned(columns, rows)]

    def _skipped(self) -> str:
        """Of how many images accuracies are, where some cannot be read."""
        for settings in (result.settings for result in self.results):
            if settings.get("skipped_images") and "measured_images" in settings:
                measured = settings["measured_images"]
                images = measured + settings["skipped_images"]
                return f": {measured:,} of {images:,}, the others cannot be read"
        return ""


def aligned(columns: Iterable[str], rows: Mapping[str, Sequence[float | None]]) -> list[str]:
    """A line of column titles and one a row, numbers to three digits, `-` where there is none."""
    titles = list(columns)
    name_width = max(len(name) for name in rows)
    lines = ["  ".join([" " * name_width, *(f"{title:>5}" for title in titles)])]
    for name, values in rows.items():
        cells = ["-" if value is None else f"{value:.3f}" for value in values]
        padded = [cell.rjust(max(len(title), 5)) for title, cell in zip(titles, cells, strict=True)]
        lines.append("  ".join([name.ljust(name_width), *padded]))
    return lines


def more_of(result: Result) -> list[str]:
    """What does not fit into the table, in a line each."""
    figures, settings = result.figures, result.settings
    if result.measure == "linear":
        low, high = result.interval["top1"]
        top5 = f"; top-5 {figures['top5']:.3f}" if "top5" in figures else ""
        mode = ", augmented" if settings["mode"] == "augmented" else ""
        return [
            f"linear{mode}: 95 % interval {low:.3f} to {high:.3f}{top5}; learning rate {settings['learning_rate']:g}"
        ]
    if result.measure == "few_label":
        name = next(name for name in _AMOUNTS if name in settings)
        amount = _AMOUNTS[name].format(settings[name])
        return [f"few-label, {amount}: {figures['top1']:.3f} +- {figures['std']:.3f} over {settings['draws']} draws"]
    if result.measure in ("finetune", "supervised"):
        amounts = [words.format(settings[name]) for name, words in _AMOUNTS.items() if name in settings]
        amounts = ["all labels" if settings.get("fraction") == 1 else amount for amount in amounts]
        std = f" +- {figures['std']:.3f}" if "std" in figures else ""
        what = ", ".join([result.measure, *amounts])
        start = {"trained": "from the trained backbone", "scratch": "from random weights"}[result.representation]
        return [f"{what}: {figures['top1']:.3f}{std} {start}"]
    return []
