from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.metrics import confusion_matrix, recall_score, top_k_accuracy_score

from byol_cli.evaluation.scoring import bootstrap_interval, classification, one_guess, ranked


def wilson(hits: int, images: int) -> Any:
    """Wilson's score interval, by its formula."""
    z = norm.ppf(0.975)
    centre, spread = hits + z**2 / 2, z * np.sqrt(hits * (images - hits) / images + z**2 / 4)
    ends = ((centre + side * spread) / (images + z**2) for side in (-1, 1))
    return pytest.approx(list(ends), abs=1e-6)


SEEDS = st.integers(0, 10_000)


def logits_and_truth(seed: int, images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), truth] += 1
    return torch.from_numpy(logits).float(), torch.from_numpy(truth)


@given(SEEDS, st.integers(1, 60), st.integers(2, 12))
@settings(deadline=None, max_examples=40)
def test_figures_are_those_of_scikit_learn(seed: int, images: int, classes: int) -> None:
    logits, truth = logits_and_truth(seed, images, classes)
    names = [f"class {number}" for number in range(classes)]
    found = classification(ranked(logits), truth, class_names=names, seed=0)
    labels = np.arange(classes)
    predictions = logits.argmax(dim=1).numpy()
    expected = {"top1": float(np.mean(predictions == truth.numpy()))}
    if classes > 5:
        expected["top5"] = top_k_accuracy_score(truth, logits, k=5, labels=labels)
    assert found["figures"] == pytest.approx(expected)
    assert found["confusion"] == confusion_matrix(truth, predictions, labels=labels).tolist()
    recalls = recall_score(truth, predictions, labels=labels, average=None, zero_division=0)
    present = set(truth.tolist())
    assert found["per_class"] == pytest.approx({names[label]: recalls[label] for label in present})
    assert set(found["interval"]) == set(expected)


def test_a_single_guess_has_no_top5_and_more_than_a_hundred_classes_no_confusion() -> None:
    truth = torch.arange(101)
    names = [str(number) for number in range(101)]
    found = classification(one_guess(truth), truth, class_names=names, seed=0)
    assert found["figures"] == {"top1": 1.0}
    assert found["interval"] == {"top1": wilson(101, 101)}
    assert found["confusion"] is None
    assert classification(one_guess(truth[:100]), truth[:100], class_names=names[:100], seed=0)["confusion"] is not None


@given(st.integers(2, 3000), st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_the_interval_of_an_accuracy_is_that_of_the_binomial_distribution(images: int, accuracy: float) -> None:
    correct = np.arange(images) < round(accuracy * images)
    low, high = bootstrap_interval(correct, seed=0)
    exact = binom.ppf([0.025, 0.975], images, correct.mean()) / images
    if not 0 < correct.sum() < images:  # nothing to resample
        assert [low, high] == wilson(int(correct.sum()), images)
        return
    spread = np.sqrt(correct.mean() * (1 - correct.mean()) / images)
    assert [low, high] == pytest.approx(exact.tolist(), abs=0.2 * spread + 1 / images)
    assert low <= correct.mean() <= high


def test_the_interval_of_any_values_is_that_of_resamples_drawn_one_by_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(size=200)
    means = [values[rng.integers(200, size=200)].mean() for _ in range(4000)]
    assert bootstrap_interval(values, seed=1) == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), rel=0.03)


def test_the_interval_repeats_and_narrows_with_more_images() -> None:
    few, many = (bootstrap_interval(np.arange(images) % 4 > 0, seed=3) for images in (100, 10_000))
    assert bootstrap_interval(np.arange(100) % 4 > 0, seed=3) == few
    assert many[1] - many[0] == pytest.approx((few[1] - few[0]) / 10, rel=0.2)


def test_few_images_that_are_all_alike_leave_doubt() -> None:
    assert bootstrap_interval(np.ones(4), seed=0) == wilson(4, 4)
    assert bootstrap_interval(np.zeros(4), seed=0) == wilson(0, 4)
    low, high = bootstrap_interval(np.zeros(4), lowest=-1, seed=0)  # differences
    assert low == -high
    assert high == pytest.approx(0.4899, abs=1e-3)
