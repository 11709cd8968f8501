from dataclasses import replace
from typing import Any

import pytest
import torch

from byol_cli.evaluation.few_label import few_label_accuracy
from byol_cli.evaluation.knn import knn_accuracy
from byol_cli.evaluation.linear import linear_probe
from byol_cli.evaluation.report import Scores, measure, score_table
from byol_cli.schema.evaluation import EvaluationConfig, FewLabelConfig, KnnConfig, LinearConfig
from byol_cli.training.gauges import effective_rank

LINEAR = LinearConfig(epochs=5, batch_size=256, learning_rates=[0.05, 0.1, 0.2, 0.4])
KNN = KnnConfig(neighbors=10, temperature=0.07)
FEW_LABEL = FewLabelConfig(labels_per_class=5, draws=2, regularization=1.0, seed=0)
ALL = EvaluationConfig(linear=LINEAR, knn=KNN, few_label=FEW_LABEL)


def scores_of(splits: Any, config: EvaluationConfig = ALL, **changes: Any) -> Scores:
    arguments = {
        "train_features": splits.train,
        "train_labels": splits.train_labels,
        "selection_features": splits.selection,
        "selection_labels": splits.selection_labels,
        "test_features": splits.test,
        "test_labels": splits.test_labels,
    }
    return measure(**{**arguments, **changes}, config=config, num_classes=10, seed=0)


def test_each_measurement_gets_the_splits_it_is_meant_to_see(digits: Any) -> None:
    linear: dict[str, Any] = {
        "num_classes": 10,
        "epochs": 5,
        "batch_size": 256,
        "learning_rates": LINEAR.learning_rates,
        "seed": 0,
    }
    knn: dict[str, Any] = {"neighbors": 10, "temperature": 0.07, "num_classes": 10, "chunk": 100}
    few: dict[str, Any] = {"labels_per_class": 5, "draws": 2, "regularization": 1.0, "seed": 0}
    assert scores_of(digits) == Scores(
        linear_top1=linear_probe(**digits._asdict(), **linear).top1,
        knn_top1=knn_accuracy(
            bank=torch.cat([digits.train, digits.selection]),
            bank_labels=torch.cat([digits.train_labels, digits.selection_labels]),
            queries=digits.test,
            query_labels=digits.test_labels,
            **knn,
        ),
        few_label_top1=few_label_accuracy(
            train=digits.train,
            train_labels=digits.train_labels,
            test=digits.test,
            test_labels=digits.test_labels,
            **few,
        ).mean,
        effective_rank=effective_rank(digits.train),
        measured_on="test",
    )


def test_without_a_test_set_the_selection_split_is_measured_and_chooses_nothing(digits: Any) -> None:
    as_test = digits._replace(test=digits.selection, test_labels=digits.selection_labels)
    expected = scores_of(as_test, selection_features=None, selection_labels=None)
    measured = scores_of(digits, test_features=None, test_labels=None)
    assert measured == replace(expected, measured_on="selection")


@pytest.mark.parametrize("name", ["linear", "knn", "few_label"])
def test_a_measurement_that_is_null_is_left_out(digits: Any, name: str) -> None:
    everything = scores_of(digits)
    left_out: dict[str, Any] = {f"{name}_top1": None}
    assert scores_of(digits, replace(ALL, **{name: None})) == replace(everything, **left_out)


def test_images_without_a_label_are_left_out(digits: Any) -> None:
    nowhere = torch.full((50,), -1)
    strange = torch.full((50, 64), 0.5)
    labels = {
        f"{split}_labels": torch.cat([getattr(digits, f"{split}_labels"), nowhere])
        for split in ("train", "selection", "test")
    }
    features = {
        f"{split}_features": torch.cat([getattr(digits, split), strange]) for split in ("train", "selection", "test")
    }
    config = replace(ALL, few_label=None)  # its standardisation may use unlabelled images
    mixed, clean = scores_of(digits, config, **labels, **features), scores_of(digits, config)
    assert (mixed.linear_top1, mixed.knn_top1) == (clean.linear_top1, clean.knn_top1)


def test_without_labels_there_are_no_accuracies_but_an_effective_rank(digits: Any) -> None:
    expected = Scores(
        linear_top1=None,
        knn_top1=None,
        few_label_top1=None,
        effective_rank=effective_rank(digits.train),
        measured_on=None,
    )
    no_labels: dict[str, Any] = {
        f"{split}_labels": torch.full_like(getattr(digits, f"{split}_labels"), -1)
        for split in ("train", "selection", "test")
    }
    assert scores_of(digits, **no_labels) == expected
    assert scores_of(digits, train_labels=no_labels["train_labels"]) == expected
    assert scores_of(digits, train_labels=torch.full_like(digits.train_labels, 3)) == expected  # one class is none
    nothing_held_out: dict[str, Any] = {"selection_features": None, "selection_labels": None, "test_features": None}
    assert scores_of(digits, **nothing_held_out, test_labels=None) == expected


def test_the_effective_rank_of_many_images_is_that_of_a_sample_over_all_of_them() -> None:
    features = torch.randn(5000, 8, generator=torch.Generator().manual_seed(0))
    features[2500:] *= torch.arange(8)  # the second half has another spectrum
    scores = measure(
        train_features=features,
        train_labels=torch.full((5000,), -1),
        selection_features=None,
        selection_labels=None,
        test_features=None,
        test_labels=None,
        config=ALL,
        num_classes=0,
        seed=0,
    )
    assert scores.effective_rank == pytest.approx(effective_rank(features), abs=0.02)


def accuracies(linear: float | None, knn: float | None, few_label: float | None, **changes: Any) -> Scores:
    scores = Scores(
        linear_top1=linear, knn_top1=knn, few_label_top1=few_label, effective_rank=0.51234, measured_on="test"
    )
    return replace(scores, **changes)


def test_the_table_sets_three_rows_under_aligned_columns() -> None:
    table = score_table(accuracies(0.9876, 1.0, None), accuracies(0.9, 0.95, None), accuracies(0.8, 0.7, None))
    assert table.splitlines() == [
        "accuracy on the test images",
        "                    linear   k-NN  few-label",
        "trained backbone     0.988  1.000          -",
        "untrained backbone   0.900  0.950          -",
        "raw pixels           0.800  0.700          -",
    ]


def test_the_table_leaves_out_pixels_that_were_not_measured() -> None:
    table = score_table(accuracies(0.9, 0.9, 0.9), accuracies(0.9, 0.9, 0.9), None)
    assert "raw pixels" not in table
    assert len(table.splitlines()) == 4


def test_the_caption_says_that_the_selection_split_was_measured() -> None:
    scores = accuracies(0.9, 0.9, 0.9, measured_on="selection")
    caption = score_table(scores, scores, None).splitlines()[0]
    assert "selection split" in caption
    assert "no test set" in caption


def test_without_labels_the_table_shows_the_effective_rank() -> None:
    scores = accuracies(None, None, None, measured_on=None)
    lines = score_table(scores, replace(scores, effective_rank=0.0125), None).splitlines()
    assert lines[0].startswith("no labels")
    assert lines[1:] == [
        "                    effective rank",
        "trained backbone             0.512",
        "untrained backbone           0.013",
    ]
