from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch

from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Subset
from byol_cli.evaluation.few_label import few_label_accuracy
from byol_cli.evaluation.frozen import Augmented, measure
from byol_cli.evaluation.knn import knn_accuracy
from byol_cli.evaluation.label_free import label_free_figures
from byol_cli.evaluation.linear import linear_probe
from byol_cli.evaluation.logistic import logistic_regression
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.task import Task
from byol_cli.schema.errors import InputError
from byol_cli.schema.evaluation import EvaluationConfig, FewLabelConfig, KnnConfig, LinearConfig, LogisticConfig

LINEAR = LinearConfig(mode="cached", epochs=5, batch_size=256, learning_rates=[0.05, 0.1, 0.2, 0.4])
KNN = KnnConfig(neighbors=10, temperature=0.07)
LOGISTIC = LogisticConfig(regularization=1.0)
FEW_LABEL = FewLabelConfig(labels_per_class=5, fractions=[], draws=2, regularization=1.0)
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


def results_of(splits: Any, config: EvaluationConfig = ALL, *, labelled: bool = True, **how: Any) -> list[Result]:
    """Of three parts of one set; `test=None` for one without a test set."""
    names = [name for name in ("train", "selection", "test") if getattr(splits, name) is not None]
    features = torch.cat([getattr(splits, name) for name in names])
    images = ArrayImages(
        images=torch.zeros(len(features), 1, 1, 1, dtype=torch.uint8),
        labels=torch.cat([getattr(splits, f"{name}_labels") for name in names]).numpy(),
        class_names=DIGITS,
    )
    ends = np.cumsum([len(getattr(splits, name)) for name in names])[:-1]
    parts = {
        name: Subset(images, part) for name, part in zip(names, np.split(np.arange(len(features)), ends), strict=True)
    }
    tested = "test" in parts
    task = Task(
        train=parts["train"],
        chooser=parts["selection"] if tested else None,
        measured=parts["test" if tested else "selection"],
        measured_on="test" if tested else "selection",
        class_names=DIGITS,
    )
    given: dict[str, Any] = {"pairs": None, "augmented": None, **how}
    return list(
        measure(
            representation="trained",
            task=task if labelled else None,
            train=parts["train"],
            features=lambda part: features[torch.from_numpy(part.indices)],
            config=config,
            **{"seed": 0, **given},
        )
    )


def without_test_labels(digits: Any) -> dict[str, Any]:
    return {name: value for name, value in digits._asdict().items() if name != "test_labels"}


def by_measure(results: list[Result]) -> dict[str, Result]:
    assert len({result.measure for result in results}) == len(results)
    return {result.measure: result for result in results}


def test_each_measurement_gets_the_splits_it_is_meant_to_see(digits: Any) -> None:
    found = by_measure(results_of(digits))
    together = torch.cat([digits.train, digits.selection])
    both_labels = torch.cat([digits.train_labels, digits.selection_labels])
    probe = linear_probe(**without_test_labels(digits), **PROBE)
    top1 = float((probe.test_ranked[:, 0] == digits.test_labels).double().mean())
    in_first_five = (probe.test_ranked == digits.test_labels[:, None]).any(dim=1)
    assert found["linear"].figures == {"top1": top1, "top5": pytest.approx(in_first_five.double().mean())}
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
    probe = linear_probe(**without_test_labels(digits), **PROBE)
    chosen = {"learning_rate": probe.learning_rate, "selection_top1": probe.selection_top1}
    counts = {"train_images": 1400, "measured_images": 397, "skipped_images": 0, "seed": 0}
    assert found["linear"].settings == asdict(LINEAR) | chosen | counts
    assert found["knn"].settings == {"neighbors": 10, "temperature": 0.07, "voting_neighbors": 10} | counts
    assert found["logistic"].settings == {"regularization": 1.0} | counts
    accuracies = found["few_label"].settings.pop("accuracies")
    assert len(accuracies) == 2
    assert found["few_label"].settings == {
        "labels_per_class": 5,
        "draws": 2,
        "regularization": 1.0,
        **counts,
        "train_images": 50,
    }


def test_settings_tell_the_numbers_in_force_where_more_is_asked_for_than_there_is(digits: Any) -> None:
    many = replace(ALL, knn=replace(KNN, neighbors=100_000), few_label=replace(FEW_LABEL, labels_per_class=100_000))
    found = by_measure(results_of(digits, many))
    assert found["knn"].settings["voting_neighbors"] == 1400
    assert found["few_label"].settings["train_images"] == 1200


def test_another_seed_draws_other_labels(digits: Any) -> None:
    one = few_label_accuracy(
        train=digits.train,
        train_labels=digits.train_labels,
        test=digits.test,
        test_labels=digits.test_labels,
        labels_per_class=5,
        draws=2,
        regularization=1.0,
        seed=3,
    )
    assert by_measure(results_of(digits, seed=3))["few_label"].settings["accuracies"] == list(one.accuracies)


def test_images_that_cannot_be_read_are_left_out_and_counted(digits: Any) -> None:
    damaged = digits._replace(test=digits.test.clone(), train=digits.train.clone())
    damaged.test[:7] = torch.nan
    damaged.train[:5] = torch.nan
    rest = digits._replace(
        train=digits.train[5:],
        train_labels=digits.train_labels[5:],
        test=digits.test[7:],
        test_labels=digits.test_labels[7:],
    )
    for one, other in zip(results_of(damaged), results_of(rest), strict=True):
        assert one.figures == other.figures
        if one.measure != "label_free":
            assert (one.settings["measured_images"], one.settings["skipped_images"]) == (390, 7)


@pytest.mark.parametrize("change", [{"labels_per_class": [1, 5, 1]}, {"fractions": [0.1, 0.1]}])
def test_a_number_that_is_there_twice_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="has a number twice"):
        replace(FEW_LABEL, **change)


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
    measured = by_measure(results_of(digits._replace(test=None)))
    assert {result.measured_on for result in measured.values()} == {"selection", "train"}
    few = {"selection": None, "selection_labels": None, "test": digits.selection}
    probe = linear_probe(**{**without_test_labels(digits), **few}, **PROBE)
    top1 = float((probe.test_ranked[:, 0] == digits.selection_labels).double().mean())
    assert measured["linear"].figures["top1"] == top1
    assert measured["linear"].settings["selection_top1"] is None
    assert measured["knn"].settings["train_images"] == 1200


@pytest.mark.parametrize("name", ["linear", "knn", "logistic", "few_label"])
def test_a_measurement_that_is_null_is_left_out(digits: Any, name: str) -> None:
    config: Any = replace(ALL, **{name: None})
    assert results_of(digits, config) == [result for result in results_of(digits) if result.measure != name]


def test_without_labels_there_is_no_accuracy_but_what_needs_none(digits: Any) -> None:
    pairs = torch.stack([digits.train[:50], digits.train[:50] + 0.01], dim=1)
    (result,) = results_of(digits, labelled=False, pairs=pairs)
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

    crops = Augmented(probe=augmented, settings={"crop": {"scale": [0.5, 1.0]}})
    cached = by_measure(results_of(digits, augmented=crops))
    assert asked == []
    config = replace(ALL, linear=replace(LINEAR, mode="augmented"))
    found = by_measure(results_of(digits, config, augmented=crops))
    assert len(asked) == 1
    assert found["linear"] == replace(
        cached["linear"], settings=cached["linear"].settings | {"mode": "augmented"} | crops.settings
    )
