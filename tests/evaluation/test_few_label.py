import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from byol_cli.evaluation.few_label import FewLabelResult, draw_fraction, draw_labelled, few_label_accuracy


def few_label(splits: Any, **changes: Any) -> FewLabelResult:
    arguments = {
        "train": splits.train,
        "train_labels": splits.train_labels,
        "test": splits.test,
        "test_labels": splits.test_labels,
        "labels_per_class": 5,
        "draws": 4,
        "regularization": 1.0,
        "seed": 0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return few_label_accuracy(**{**arguments, **changes})


@given(
    st.lists(st.integers(-1, 4), min_size=1, max_size=60).map(np.array),
    st.integers(1, 8),
    st.integers(0, 2**63 - 1),
    st.integers(0, 50),
)
@settings(deadline=None)
def test_a_draw_takes_that_many_distinct_labelled_images_of_each_class(
    labels: np.ndarray, labels_per_class: int, seed: int, draw: int
) -> None:
    if (labels < 0).all():
        labels[0] = 0
    chosen = draw_labelled(labels, labels_per_class=labels_per_class, seed=seed, draw=draw)
    assert len(set(chosen.tolist())) == len(chosen)
    for label in range(5):
        assert (labels[chosen] == label).sum() == min(labels_per_class, (labels == label).sum())
    assert (labels[chosen] >= 0).all()
    assert np.array_equal(chosen, draw_labelled(labels, labels_per_class=labels_per_class, seed=seed, draw=draw))


def test_draws_and_seeds_choose_different_images_and_each_image_at_times() -> None:
    labels = np.arange(40) % 4
    draws = {
        (seed, draw): tuple(draw_labelled(labels, labels_per_class=3, seed=seed, draw=draw))
        for seed in range(3)
        for draw in range(20)
    }
    assert len(set(draws.values())) == len(draws)
    assert {index for chosen in draws.values() for index in chosen} == set(range(40))


def test_five_labels_a_class_read_raw_digits_about_as_well_as_is_known(digits: Any) -> None:
    images = torch.cat([digits.train, digits.test]).view(-1, 1, 8, 8)
    upscaled = torch.nn.functional.interpolate(images, size=16, mode="bicubic").flatten(1)
    train, test = upscaled.split([len(digits.train), len(digits.test)])
    result = few_label(digits, train=train, test=test, draws=10)
    assert result.mean == pytest.approx(0.86, abs=0.03)
    assert 0 < result.std < 0.05


def test_mean_and_std_are_those_of_the_draws(digits: Any) -> None:
    result = few_label(digits)
    assert len(result.accuracies) == 4
    assert result.mean == pytest.approx(sum(result.accuracies) / 4)
    assert result.std == pytest.approx(np.std(result.accuracies))
    assert few_label(digits) == result
    assert few_label(digits, draws=2).accuracies == result.accuracies[:2]
    assert few_label(digits, seed=1).accuracies != result.accuracies


def test_one_draw_is_logistic_regression_on_features_standardised_by_all_training_images(digits: Any) -> None:
    mean = digits.train.mean(dim=0)
    length = (digits.train - mean).square().sum(dim=1).mean().sqrt()
    train, test = ((split - mean) / length * 4 for split in (digits.train, digits.test))
    chosen = draw_labelled(digits.train_labels.numpy(), labels_per_class=5, seed=7, draw=0)
    reference = LogisticRegression(C=0.5, max_iter=1000).fit(train[chosen].double(), digits.train_labels[chosen])
    expected = reference.score(test.numpy(), digits.test_labels.numpy())
    assert few_label(digits, draws=1, seed=7, regularization=0.5).mean == pytest.approx(expected, abs=2e-3)


def test_the_scale_and_origin_of_the_features_do_not_matter(digits: Any) -> None:
    moved = digits._replace(train=digits.train * 500 + 3, test=digits.test * 500 + 3)
    assert few_label(moved).accuracies == pytest.approx(few_label(digits).accuracies, abs=5e-3)


@pytest.mark.parametrize("regularization", [1e-3, 1e4])
def test_the_solver_converges_without_a_warning(digits: Any, regularization: float) -> None:
    assert few_label(digits, draws=2, regularization=regularization).mean > 0.6


def test_images_without_a_label_are_never_chosen_but_standardise(digits: Any) -> None:
    labels = digits.train_labels.clone()
    labels[100:] = -1
    result = few_label(digits, train_labels=labels, labels_per_class=1000, draws=2)
    assert result.std == 0  # all one hundred labelled images, in both draws
    assert result.mean > 0.8


def test_the_spread_of_unlabelled_images_sets_the_scale(digits: Any) -> None:
    """Unlabelled images of 100 times the contrast shrink the labelled ones, as a stronger regularization would."""
    bright = 0.5 + 100 * (digits.train - digits.train.mean())
    unlabelled = torch.full_like(digits.train_labels, -1)
    train, labels = torch.cat([digits.train, bright]), torch.cat([digits.train_labels, unlabelled])
    shrunk = few_label(digits, train=train, train_labels=labels, labels_per_class=1000, draws=1, regularization=1e-3)
    alone = few_label(digits, labels_per_class=1000, draws=1, regularization=1e-3)
    assert shrunk.mean < alone.mean - 0.02


def test_constant_features_give_chance(digits: Any) -> None:
    constant = few_label(digits, train=torch.ones_like(digits.train), test=torch.ones_like(digits.test))
    assert constant.mean < 0.15


@given(
    st.lists(st.integers(-1, 4), min_size=1, max_size=80).map(np.array),
    st.floats(0.001, 1),
    st.integers(0, 2**63 - 1),
    st.integers(0, 50),
)
@settings(deadline=None)
def test_a_fraction_takes_its_share_of_each_class_and_one_image_at_least(
    labels: np.ndarray, fraction: float, seed: int, draw: int
) -> None:
    if (labels < 0).all():
        labels[0] = 0
    chosen = draw_fraction(labels, fraction=fraction, seed=seed, draw=draw)
    assert len(set(chosen.tolist())) == len(chosen)
    for label in range(5):
        size = int((labels == label).sum())
        assert (labels[chosen] == label).sum() == (max(1, round(size * fraction)) if size else 0)
    assert set(draw_fraction(labels, fraction=fraction / 2, seed=seed, draw=draw)) <= set(chosen)


def test_a_fraction_of_all_labels_is_tested_like_as_many_a_class(digits: Any) -> None:
    tenth = few_label(digits, labels_per_class=None, fraction=0.1)
    twelve = few_label(digits, labels_per_class=12)
    assert tenth.mean == pytest.approx(twelve.mean, abs=0.02)
    assert few_label(digits, labels_per_class=None, fraction=0.1) == tenth
    everything = few_label(digits, labels_per_class=None, fraction=1.0, draws=2)
    assert everything.std == pytest.approx(0, abs=2e-3)
