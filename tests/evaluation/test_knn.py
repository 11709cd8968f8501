import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from byol_cli.evaluation.knn import knn_accuracy, knn_predict


def slow_knn(
    bank: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, neighbors: int, temperature: float
) -> list[int]:
    """One query and one bank image at a time, in plain Python floats."""
    predictions = []
    for query in queries.double().tolist():
        similarities = []
        for image, label in zip(bank.double().tolist(), labels.tolist(), strict=True):
            dot = sum(a * b for a, b in zip(query, image, strict=True))
            similarities.append((dot / math.hypot(*query) / math.hypot(*image), label))
        votes: dict[int, float] = {}
        for similarity, label in sorted(similarities, reverse=True)[:neighbors]:
            votes[label] = votes.get(label, 0) + math.exp(similarity / temperature)
        predictions.append(max(votes, key=lambda label: votes[label]))
    return predictions


@given(
    st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 50), st.sampled_from([0.05, 0.2, 1.0]), st.integers(1, 9)
)
@settings(max_examples=40, deadline=None)
def test_predictions_are_those_of_a_slow_double_loop(
    seed: int, bank_size: int, neighbors: int, temperature: float, chunk: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randn(bank_size, 6, generator=generator)
    labels = torch.randint(4, (bank_size,), generator=generator)
    queries = torch.randn(8, 6, generator=generator)
    predictions = knn_predict(
        bank=bank,
        bank_labels=labels,
        queries=queries,
        neighbors=neighbors,
        temperature=temperature,
        num_classes=4,
        chunk=chunk,
    )
    assert predictions.tolist() == slow_knn(bank, labels, queries, neighbors, temperature)


def test_accuracy_on_digits_is_that_of_scikit_learn(digits: Any) -> None:
    temperature = 0.07
    reference = KNeighborsClassifier(
        n_neighbors=20, metric="cosine", weights=lambda distances: np.exp((1 - distances) / temperature)
    ).fit(digits.train.numpy(), digits.train_labels.numpy())
    accuracy = knn_accuracy(
        bank=digits.train,
        bank_labels=digits.train_labels,
        queries=digits.test,
        query_labels=digits.test_labels,
        neighbors=20,
        temperature=temperature,
        num_classes=10,
        chunk=64,
    )
    assert accuracy == pytest.approx(reference.score(digits.test.numpy(), digits.test_labels.numpy()))
    assert accuracy > 0.95


def test_a_closer_neighbour_outweighs_two_farther_ones_only_at_a_low_temperature() -> None:
    bank = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    labels = torch.tensor([0, 1, 1])
    vote: dict[str, Any] = {
        "bank": bank,
        "bank_labels": labels,
        "queries": bank[:1],
        "neighbors": 3,
        "num_classes": 2,
        "chunk": 1,
    }
    assert knn_predict(**vote, temperature=0.1).item() == 0
    assert knn_predict(**vote, temperature=10).item() == 1


def test_more_neighbours_than_the_bank_holds_are_all_of_it(digits: Any) -> None:
    vote: dict[str, Any] = {"bank": digits.train[:30], "bank_labels": digits.train_labels[:30], "queries": digits.test}
    everyone = knn_predict(**vote, neighbors=30, temperature=0.1, num_classes=10, chunk=50)
    assert torch.equal(knn_predict(**vote, neighbors=999, temperature=0.1, num_classes=10, chunk=50), everyone)


def test_a_tiny_temperature_is_the_nearest_neighbour_and_does_not_overflow(digits: Any) -> None:
    vote: dict[str, Any] = {
        "bank": digits.train,
        "bank_labels": digits.train_labels,
        "queries": digits.test,
        "num_classes": 10,
    }
    nearest = knn_predict(**vote, neighbors=1, temperature=1.0, chunk=100)
    assert torch.equal(knn_predict(**vote, neighbors=20, temperature=1e-6, chunk=100), nearest)


def test_images_without_any_feature_get_a_prediction() -> None:
    predictions = knn_predict(
        bank=torch.zeros(3, 4),
        bank_labels=torch.tensor([1, 1, 0]),
        queries=torch.zeros(2, 4),
        neighbors=3,
        temperature=0.1,
        num_classes=2,
        chunk=2,
    )
    assert predictions.tolist() == [1, 1]
