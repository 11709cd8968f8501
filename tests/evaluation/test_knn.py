import math
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

import byol_cli
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


def possible_classes(cosines: np.ndarray, labels: np.ndarray, neighbors: int, temperature: float) -> set[int]:
    """The classes that win the vote of `neighbors` images none of which is farther than one left out."""
    farthest = np.sort(cosines)[-neighbors]
    surely = np.flatnonzero(cosines > farthest + 1e-5)
    tied = np.flatnonzero(abs(cosines - farthest) <= 1e-5)
    winners: set[int] = set()
    for chosen in combinations(tied, neighbors - len(surely)):
        voters = [*surely, *chosen]
        votes = np.bincount(labels[voters], weights=np.exp(cosines[voters] / temperature), minlength=3)
        winners |= set(np.flatnonzero(votes >= votes.max() * (1 - 1e-4)).tolist())
    return winners


@given(st.integers(0, 10_000), st.integers(1, 10), st.integers(1, 10), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_of_equally_near_images_as_many_vote_as_are_asked_for(
    seed: int, bank_size: int, neighbors: int, chunk: int
) -> None:
    """Features of one -1, 0 or 1 in two dimensions, hence few different cosines."""
    rng = np.random.default_rng(seed)
    corners = np.array([[x, y] for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)], dtype=np.float32)
    bank, queries = corners[rng.integers(8, size=bank_size)], corners[rng.integers(8, size=6)]
    labels = rng.integers(3, size=bank_size)
    predictions = knn_predict(
        bank=torch.from_numpy(bank),
        bank_labels=torch.from_numpy(labels),
        queries=torch.from_numpy(queries),
        neighbors=neighbors,
        temperature=0.5,
        num_classes=3,
        chunk=chunk,
    )
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(bank, axis=1)
    cosines = (queries @ bank.T / lengths).astype(np.float64)
    for row, prediction in zip(cosines, predictions.tolist(), strict=True):
        assert prediction in possible_classes(row, labels, min(neighbors, bank_size), 0.5)


def test_many_images_in_blocks_get_the_predictions_of_the_whole_matrix() -> None:
    rng = np.random.default_rng(0)
    bank, queries = (rng.normal(size=(count, 16)).astype(np.float32) for count in (3000, 700))
    labels = rng.integers(5, size=len(bank))
    cosines = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (bank / np.linalg.norm(bank, axis=1)[:, None]).T
    nearest = np.argsort(-cosines, axis=1)[:, :20]
    weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / 0.07)
    votes = np.stack([(weights * (labels[nearest] == label)).sum(axis=1) for label in range(5)], axis=1)
    for chunk in (1, 64, 699, 5000):
        predictions = knn_predict(
            bank=torch.from_numpy(bank),
            bank_labels=torch.from_numpy(labels),
            queries=torch.from_numpy(queries),
            neighbors=20,
            temperature=0.07,
            num_classes=5,
            chunk=chunk,
        )
        assert np.array_equal(predictions.numpy(), votes.argmax(axis=1)), chunk


IN_A_NEW_PROCESS = """
import resource, torch
import byol_cli
from byol_cli.evaluation.knn import knn_predict

def predict(queries):
    knn_predict(bank=bank, bank_labels=torch.zeros(50_000, dtype=torch.int64), queries=torch.randn(queries, 8),
                neighbors=10, temperature=0.07, num_classes=2, chunk=64)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

bank = torch.randn(50_000, 8)
print(predict(64), predict(1024))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource is a module of Unix")
def test_the_memory_taken_does_not_grow_with_the_number_of_queries() -> None:
    command, folder = [sys.executable, "-c", IN_A_NEW_PROCESS], Path(byol_cli.__file__).parents[1]
    printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    few, many = map(int, printed.stdout.split())
    kibibytes = 1024 if sys.platform == "darwin" else 1
    assert (many - few) / kibibytes < 0.1 * 4 * 1024 * 50_000 / 1024  # a tenth of the whole matrix


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
