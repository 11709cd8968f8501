"""What was measured, from evaluations.jsonl, and where that is missing from summary.json."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from byol_cli.report.measured import Measured, data_title, images_of, is_result, measured
from byol_cli.report.run_folder import Row, RunFolder, is_number

_DIGITS = 8  # of a SHA-256, where no name tells things apart


def measured_in(run: RunFolder) -> list[Measured]:
    """The newest measurement of each kind, images, checkpoint and representation, in the order in which they came."""
    rows = [row for row in run.evaluations if is_result(row)]
    own = _own_images(run, rows)
    newest: dict[tuple[Any, ...], Measured] = {}
    for row in rows:
        result = replace(measured(row), own=_images(row) in own)
        newest[(*result.table, result.measure, result.variant, result.representation)] = result
    return _told_apart(list(newest.values())) or _from_summary(run)


def _own_images(run: RunFolder, rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Those that training has measured on; where it has measured nothing, those that the configuration names."""
    trained = [row for row in rows if row.get("command") == "byol-train"]
    if trained:
        return {_images(trained[-1])}
    wanted = run.setting("dataset")
    if not isinstance(wanted, dict) or "name" not in wanted:
        return set()
    names = {str(wanted["name"]), data_title(wanted)}  # a line of an earlier version has no folder
    return {_images(row) for row in rows if measured(row).source in names}


def _images(row: Row) -> tuple[str, str]:
    return row["dataset"], images_of(row)


def _told_apart(results: Sequence[Measured]) -> list[Measured]:
    """With more in `source` where other images, or several checkpoints, would be called the same; and `newest`."""
    kinds = list(dict.fromkeys(result.weights for result in results))
    newest = max(reversed(kinds), key=lambda weights: weights[1], default=None)
    told = []
    for result in results:
        words = [result.source]
        if len({other.images for other in results if other.source == result.source} - {""}) > 1:
            words.append(f"images {result.images[:_DIGITS]}")
        if len(kinds) > 1 and result.step is not None:
            words.append(f"step {result.step:,}")
            if sum(step == result.step for _, step in kinds) > 1:
                words.append(f"checkpoint {result.checkpoint[:_DIGITS]}")
        told.append(replace(result, source=", ".join(words), newest=result.weights == newest))
    return told


def _from_summary(run: RunFolder) -> list[Measured]:
    """Runs from before evaluations.jsonl, and such as could not write it, have accuracies in their summary."""
    scores = {"trained": run.summary, "untrained": run.summary.get("untrained"), "pixels": run.summary.get("pixels")}
    names = {"linear": "linear_top1", "knn": "knn_top1", "few_label": "few_label_top1"}
    source = str(run.setting("dataset.name") or "the data")
    found = []
    for representation, values in scores.items():
        values = values if isinstance(values, dict) else {}
        for measure, figure, value in [
            *((measure, "top1", values.get(name)) for measure, name in names.items()),
            ("label_free", "effective_rank", values.get("effective_rank")),
        ]:
            where = str(values.get("measured_on") or "test") if figure == "top1" else "train"
            if is_number(value):
                figures = {figure: float(value)}
                found.append(
                    Measured(
                        source=source,
                        measure=measure,
                        representation=representation,
                        measured_on=where,
                        figures=figures,
                    )
                )
    return found
