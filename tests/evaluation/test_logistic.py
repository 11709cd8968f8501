from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import top_k_accuracy_score
from sklearn.preprocessing import StandardScaler

from byol_cli.evaluation.logistic import logistic_regression


def test_it_reads_digits_as_well_as_scikit_learn_on_features_scaled_its_own_way(digits: Any) -> None:
    guesses = logistic_regression(
        train=digits.train, train_labels=digits.train_labels, test=digits.test, regularization=10.0
    )
    scaler = StandardScaler().fit(digits.train)
    reference = LogisticRegression(max_iter=2000).fit(scaler.transform(digits.train), digits.train_labels)
    truth, probabilities = digits.test_labels, reference.predict_proba(scaler.transform(digits.test))
    assert guesses.shape == (len(digits.test), 5)
    top1 = float((guesses[:, 0] == truth).double().mean())
    top5 = float((guesses == truth[:, None]).any(dim=1).double().mean())
    assert top1 == pytest.approx(top_k_accuracy_score(truth, probabilities, k=1), abs=0.02)
    assert top5 == pytest.approx(top_k_accuracy_score(truth, probabilities, k=5), abs=0.01)


def test_labels_keep_their_numbers_where_some_classes_have_no_image() -> None:
    labels = torch.tensor([2, 7]).repeat(20)
    train = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) + 10 * (labels[:, None] == 7)
    guesses = logistic_regression(train=train, train_labels=labels, test=train, regularization=1.0)
    assert guesses.shape == (40, 2)
    assert np.array_equal(guesses[:, 0], labels)
    assert np.array_equal(guesses.sum(dim=1), np.full(40, 9))
