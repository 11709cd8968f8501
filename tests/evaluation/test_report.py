from typing import Any

import pytest

from byol_cli.evaluation.report import Report
from byol_cli.evaluation.results import Result

LINEAR_SETTINGS = {"mode": "cached", "learning_rate": 0.2}


def result(measure: str, representation: str, figures: dict[str, float], **changes: Any) -> Result:
    values: dict[str, Any] = {
        "settings": LINEAR_SETTINGS if measure == "linear" else {},
        "interval": {"top1": [0.9712, 0.9961]} if measure == "linear" else {},
        "measured_on": "train" if measure == "label_free" else "test",
    }
    return Result(measure=measure, representation=representation, figures=figures, **{**values, **changes})


def frozen(representation: str, linear: float, knn: float | None = None, rank: float = 0.5) -> list[Result]:
    return [
        result("linear", representation, {"top1": linear, "top5": 0.9994}),
        *([] if knn is None else [result("knn", representation, {"top1": knn})]),
        result("label_free", representation, {"effective_rank": rank, "alignment": 0.1, "uniformity": -2.0}),
    ]


def report(*results: Result, measured_on: str | None = "test") -> Report:
    return Report(results=results, measured_on=measured_on)


def test_the_table_sets_three_rows_under_aligned_columns_and_more_of_the_trained_one_below() -> None:
    table = report(
        *frozen("trained", 0.9876, 1.0), *frozen("untrained", 0.9, 0.95), *frozen("pixels", 0.8, 0.7)
    ).table()
    assert table.splitlines() == [
        "accuracy on the test images",
        "                    linear   k-NN  few-label",
        "trained backbone     0.988  1.000          -",
        "untrained backbone   0.900  0.950          -",
        "raw pixels           0.800  0.700          -",
        "",
        "linear: 95 % interval 0.971 to 0.996; top-5 0.999; learning rate 0.2",
    ]


def test_the_table_leaves_out_pixels_that_were_not_measured() -> None:
    lines = report(*frozen("trained", 0.9), *frozen("untrained", 0.9)).table().splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["trained backbone", "untrained backbone"]
    assert lines[4] == ""


def test_a_measurement_that_was_not_asked_for_has_a_dash() -> None:
    only_knn = [result("knn", name, {"top1": 0.5}) for name in ("trained", "untrained")]
    ranks = [result("label_free", name, {"effective_rank": 0.5}) for name in ("trained", "untrained")]
    assert report(*only_knn, *ranks).table().splitlines()[2:] == [
        "trained backbone         -  0.500          -",
        "untrained backbone       -  0.500          -",
    ]


def test_the_caption_says_that_the_selection_split_was_measured() -> None:
    both = [*frozen("trained", 0.9), *frozen("untrained", 0.9)]
    caption = report(*both, measured_on="selection").table().splitlines()[0]
    assert "selection split" in caption
    assert "no test set" in caption


def test_without_labels_the_table_shows_what_needs_none() -> None:
    figures = {"effective_rank": 0.51234, "rankme": 12.3, "alignment": 0.25, "uniformity": -2.5}
    few_images = {"effective_rank": 0.0125, "rankme": 1.2}
    both = [result("label_free", "trained", figures), result("label_free", "untrained", few_images)]
    lines = report(*both, measured_on=None).table().splitlines()
    assert lines[0].startswith("no labels")
    assert lines[1:] == [
        "                    effective rank  alignment  uniformity",
        "trained backbone             0.512      0.250      -2.500",
        "untrained backbone           0.013          -           -",
    ]


def test_with_labels_but_no_accuracy_asked_for_it_shows_the_same_without_saying_that_there_are_none() -> None:
    ranks = [result("label_free", name, {"effective_rank": 0.5}) for name in ("trained", "untrained")]
    lines = report(*ranks).table().splitlines()
    assert lines[0].startswith("effective rank of the features")
    assert "no labels" not in lines[0]
    assert report(*ranks).summary()["measured_on"] == "test"


def test_lines_below_tell_of_few_labels_logistic_regression_tuned_networks_and_search() -> None:
    more = [
        result("logistic", "trained", {"top1": 0.97}),
        result("few_label", "trained", {"top1": 0.9, "std": 0.01}, settings={"labels_per_class": 5, "draws": 20}),
        result("few_label", "trained", {"top1": 0.8, "std": 0.02}, settings={"fraction": 0.01, "draws": 20}),
        result("finetune", "scratch", {"top1": 0.7, "std": 0.03}, settings={"fraction": 0.1, "draws": 3}),
        result("supervised", "scratch", {"top1": 0.95}),
        *(
            result("retrieval", name, {"recall_at_1": 0.99, "map": 0.5, "roc_area": 0.9, "equal_error_rate": 0.1})
            for name in ("trained", "untrained")
        ),
    ]
    lines = report(*frozen("trained", 0.9), *frozen("untrained", 0.9), *more).table().splitlines()
    assert lines[1:4] == [
        "                    linear   k-NN  few-label  logistic",
        "trained backbone     0.900      -      0.900     0.970",
        "untrained backbone   0.900      -          -         -",
    ]
    assert lines[6:] == [
        "few-label, 5 a class: 0.900 +- 0.010 over 20 draws",
        "few-label, 0.01 of the labels: 0.800 +- 0.020 over 20 draws",
        "finetune, 0.1 of the labels: 0.700 +- 0.030 from random weights",
        "supervised: 0.950 from random weights",
        "",
        "search and verification among the test images",
        "                    recall@1    mAP  equal error rate",
        "trained backbone       0.990  0.500             0.100",
        "untrained backbone     0.990  0.500             0.100",
    ]


def test_the_summary_keeps_its_keys() -> None:
    few = [
        result("few_label", "trained", {"top1": top1, "std": 0.0}, settings={"labels_per_class": number, "draws": 2})
        for number, top1 in ((5, 0.7), (1, 0.3))
    ]
    found = report(*frozen("trained", 0.9, 0.8, rank=0.6), *few, *frozen("untrained", 0.5)).summary()
    assert found == {
        "linear_top1": 0.9,
        "knn_top1": 0.8,
        "few_label_top1": 0.7,
        "effective_rank": 0.6,
        "measured_on": "test",
        "untrained": {
            "linear_top1": 0.5,
            "knn_top1": None,
            "few_label_top1": None,
            "effective_rank": 0.5,
            "measured_on": "test",
        },
        "pixels": None,
    }


@pytest.mark.parametrize("mode", ["cached", "augmented"])
def test_the_line_of_the_linear_probe_names_the_augmented_mode(mode: str) -> None:
    settings = {"mode": mode, "learning_rate": 0.4}
    one = result("linear", "trained", {"top1": 0.9}, settings=settings)
    rank = [result("label_free", name, {"effective_rank": 0.5}) for name in ("trained", "untrained")]
    line = report(one, *rank).table().splitlines()[-1]
    word = ", augmented" if mode == "augmented" else ""
    assert line == f"linear{word}: 95 % interval 0.971 to 0.996; learning rate 0.4"
