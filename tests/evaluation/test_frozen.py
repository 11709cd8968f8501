from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from byol_cli.evaluation.few_label import few_label_accuracy
from byol_cli.evaluation.frozen import measure
from byol_cli.evaluation.knn import knn_accuracy
from byol_cli.evaluation.label_free import label_free_figures
from byol_cli.evaluation.linear import linear_probe
from byol_cli.evaluation.logistic import logistic_regression
from byol_cli.evaluation.results import Result
from byol_cli.schema.errors import InputError
from byol_cli.schema.evaluation import EvaluationConfig, FewLabelConfig, KnnConfig, LinearConfig, LogisticConfig

LINEAR = LinearConfig(mode="cached", epochs=5, batch_size=256, learning_rates=[0.05, 0.1, 0.2, 0.4])
KNN = KnnConfig(neighbors=10, temperature=0.07)
LOGISTIC = LogisticConfig(regularization=1.0)
FEW_LABEL = FewLabelConfig(labels_per_class=5, fractions=[], draws=2, regularization=1.0, seed=0)
ALL = EvaluationConfig(
    linear=LINEAR, knn=KNN, logistic=LOGISTIC, few_label=FEW_LABEL, finetune=None, supervised=None, retrieval=None
)
DIGITS = tuple("0123456789")
PROBE: dict[str, Any] = {
    "num_classes": 10,
    "epochs": 5,
    "batch_size": 256,
    "learning_rates": LINEAR.learning_rates,
    "seed": 0,
}


def results_of(splits: Any, config: EvaluationConfig = ALL, **changes: Any) -> list[Result]:
    arguments = {
        "train_features": splits.train,
        "train_labels": splits.train_labels,
        "selection_features": splits.selection,
        "selection_labels": splits.selection_labels,
        "test_features": splits.test,
        "test_labels": splits.test_labels,
        "pairs": None,
        "augmented": None,
    }
    return measure(representation="trained", **{**arguments, **changes}, config=config, class_names=DIGITS, seed=0)


def by_measure(results: list[Result]) -> dict[str, Result]:
    assert len({result.measure for result in results}) == len(results)
    return {result.measure: result for result in results}


def test_each_measurement_gets_the_splits_it_is_meant_to_see(digits: Any) -> None:
    found = by_measure(results_of(digits))
    together = torch.cat([digits.train, digits.selection])
    both_labels = torch.cat([digits.train_labels, digits.selection_labels])
    probe = linear_probe(**digits._asdict(), **PROBE)
    in_first_five = (probe.test_ranked == digits.test_labels[:, None]).any(dim=1)
    assert found["linear"].figures == {"top1": probe.top1, "top5": pytest.approx(in_first_five.double().mean())}
    knn: dict[str, Any] = {"neighbors": 10, "temperature": 0.07, "num_classes": 10, "chunk": 100}
    knn |= {"bank": together, "bank_labels": both_labels, "queries": digits.test, "query_labels": digits.test_labels}
    assert found["knn"].figures == {"top1": knn_accuracy(**knn)}
    guesses = logistic_regression(train=together, train_labels=both_labels, test=digits.test, regularization=1.0)
    assert found["logistic"].figures["top1"] == float((guesses[:, 0] == digits.test_labels).double().mean())
    few = few_label_accuracy(
        train=digits.train,
        train_labels=digits.train_labels,
        test=digits.test,
        test_labels=digits.test_labels,
        labels_per_class=5,
        draws=2,
        regularization=1.0,
        seed=0,
    )
    assert found["few_label"].figures == {"top1": few.mean, "std": few.std}
    assert found["label_free"].figures == label_free_figures(digits.train, None)
    assert {name: result.measured_on for name, result in found.items()} == {
        "linear": "test",
        "knn": "test",
        "logistic": "test",
        "few_label": "test",
        "label_free": "train",
    }


def test_settings_tell_every_hyper_parameter_and_what_was_chosen(digits: Any) -> None:
    found = by_measure(results_of(digits))
    probe = linear_probe(**digits._asdict(), **PROBE)
    chosen = {"learning_rate": probe.learning_rate, "selection_top1": probe.selection_top1}
    assert found["linear"].settings == asdict(LINEAR) | chosen | {"seed": 0}
    assert found["knn"].settings == {"neighbors": 10, "temperature": 0.07, "seed": 0}
    assert found["logistic"].settings == {"regularization": 1.0, "seed": 0}
    accuracies = found["few_label"].settings.pop("accuracies")
    assert len(accuracies) == 2
    assert found["few_label"].settings == {
        "labels_per_class": 5,
        "draws": 2,
        "regularization": 1.0,
        "draw_seed": 0,
        "seed": 0,
    }


def test_classes_confusion_and_interval_fit_the_accuracy(digits: Any) -> None:
    for name in ("linear", "knn", "logistic"):
        result = by_measure(results_of(digits))[name]
        assert result.confusion is not None
        assert result.per_class is not None
        counts = torch.tensor(result.confusion)
        assert counts.sum() == len(digits.test)
        assert float(counts.trace() / counts.sum()) == pytest.approx(result.figures["top1"])
        assert list(result.per_class) == list(DIGITS)
        assert result.per_class["3"] == pytest.approx(float(counts[3, 3] / counts[3].sum()))
        low, high = result.interval["top1"]
        assert 0.005 < result.figures["top1"] - low < 0.05
        assert low < result.figures["top1"] < high


def test_one_result_for_each_number_of_labels_and_each_fraction(digits: Any) -> None:
    few = replace(FEW_LABEL, labels_per_class=[1, 5], fractions=[0.01, 0.1])
    results = [result for result in results_of(digits, replace(ALL, few_label=few)) if result.measure == "few_label"]
    amounts = [(r.settings.get("labels_per_class"), r.settings.get("fraction")) for r in results]
    assert amounts == [(1, None), (5, None), (None, 0.01), (None, 0.1)]
    top1 = [result.figures["top1"] for result in results]
    assert top1[0] < top1[1]
    assert top1[2] < top1[3]


def test_a_measurement_of_no_number_of_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"labels_per_class=\[\] and fractions=\[\]"):
        replace(FEW_LABEL, labels_per_class=[], fractions=[])


def test_without_a_test_set_the_selection_split_is_measured_and_chooses_nothing(digits: Any) -> None:
    as_test = digits._replace(test=digits.selection, test_labels=digits.selection_labels)
    expected = results_of(as_test, selection_features=None, selection_labels=None)
    measured = results_of(digits, test_features=None, test_labels=None)
    assert measured == [
        result if result.measure == "label_free" else replace(result, measured_on="selection") for result in expected
    ]


@pytest.mark.parametrize("name", ["linear", "knn", "logistic", "few_label"])
def test_a_measurement_that_is_null_is_left_out(digits: Any, name: str) -> None:
    config: Any = replace(ALL, **{name: None})
    assert results_of(digits, config) == [result for result in results_of(digits) if result.measure != name]


def test_images_without_a_label_are_left_out(digits: Any) -> None:
    nowhere = torch.full((50,), -1)
    strange = torch.full((50, 64), 0.5)
    parts = ("train", "selection", "test")
    labels = {f"{part}_labels": torch.cat([getattr(digits, f"{part}_labels"), nowhere]) for part in parts}
    features = {f"{part}_features": torch.cat([getattr(digits, part), strange]) for part in parts}
    config = replace(ALL, few_label=None)  # its standardisation may use unlabelled images
    mixed, clean = results_of(digits, config, **labels, **features), results_of(digits, config)
    assert [r for r in mixed if r.measure != "label_free"] == [r for r in clean if r.measure != "label_free"]


def test_without_labels_there_is_no_accuracy_but_what_needs_none(digits: Any) -> None:
    pairs = torch.stack([digits.train[:50], digits.train[:50] + 0.01], dim=1)
    no_labels: dict[str, Any] = {
        f"{split}_labels": torch.full_like(getattr(digits, f"{split}_labels"), -1)
        for split in ("train", "selection", "test")
    }
    one_class = torch.full_like(digits.train_labels, 3)
    nothing_held_out: dict[str, Any] = dict.fromkeys(
        ("selection_features", "selection_labels", "test_features", "test_labels")
    )
    for changes in (
        no_labels,
        {"train_labels": no_labels["train_labels"]},
        {"train_labels": one_class},
        nothing_held_out,
    ):
        (result,) = results_of(digits, pairs=pairs, **changes)
        assert (result.measure, result.measured_on) == ("label_free", "train")
        assert result.figures == label_free_figures(digits.train, pairs)
        assert result.settings == {"images": 1200, "pairs": 50}


def test_measuring_twice_gives_the_same_results(digits: Any) -> None:
    assert results_of(digits) == results_of(digits)


def test_the_augmented_mode_asks_for_crops_with_the_same_protocol(digits: Any) -> None:
    asked: list[dict[str, Any]] = []

    def augmented(**probe: Any) -> Any:
        asked.append(probe)
        return linear_probe(**probe, train_labels=digits.train_labels)

    cached = by_measure(results_of(digits, augmented=augmented))
    assert asked == []
    config = replace(ALL, linear=replace(LINEAR, mode="augmented"))
    found = by_measure(results_of(digits, config, augmented=augmented))
    assert len(asked) == 1
    assert found["linear"] == replace(cached["linear"], settings=cached["linear"].settings | {"mode": "augmented"})
