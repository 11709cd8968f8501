import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from byol_cli.evaluation.features import standardization
from byol_cli.evaluation.linear import LinearResult, linear_probe

LEARNING_RATES = [0.4, 0.3, 0.2, 0.1, 0.05]


def probe(splits: Any, **changes: Any) -> LinearResult:
    arguments = {
        **{name: value for name, value in splits._asdict().items() if name != "test_labels"},
        "num_classes": 10,
        "epochs": 80,
        "batch_size": 256,
        "learning_rates": LEARNING_RATES,
        "seed": 0,
    }
    return linear_probe(**{**arguments, **changes})


def accuracy(result: LinearResult, labels: torch.Tensor) -> float:
    return float((result.test_ranked[:, 0] == labels).double().mean())


def blobs(count: int, dim: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes, each around its own axis, far apart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return torch.randn(count, dim, generator=generator) + 20 * torch.eye(3, dim)[labels], labels


def blob_probe(**changes: Any) -> LinearResult:
    train, train_labels = blobs(60)
    test, _ = blobs(30, seed=1)
    arguments = {
        "train": train,
        "train_labels": train_labels,
        "selection": None,
        "selection_labels": None,
        "test": test,
        "num_classes": 3,
        "epochs": 20,
        "batch_size": 16,
        "learning_rates": LEARNING_RATES,
        "seed": 0,
    }
    return linear_probe(**{**arguments, **changes})


def test_separable_blobs_are_told_apart() -> None:
    assert torch.equal(blob_probe().test_ranked[:, 0], blobs(30, seed=1)[1])


def test_every_class_is_ranked_once() -> None:
    ranked = blob_probe(test=torch.zeros(1, 5)).test_ranked
    assert sorted(ranked[0].tolist()) == [0, 1, 2]


def test_accuracy_on_digits_is_that_of_logistic_regression(digits: Any) -> None:
    pixels = torch.cat([digits.train, digits.selection])
    labels = torch.cat([digits.train_labels, digits.selection_labels])
    reference = LogisticRegression(max_iter=2000).fit(pixels.numpy(), labels.numpy())
    expected = reference.score(digits.test.numpy(), digits.test_labels.numpy())
    assert accuracy(probe(digits), digits.test_labels) == pytest.approx(expected, abs=0.01)


def trained_by_torch(
    features: torch.Tensor, labels: torch.Tensor, *, rate: float, epochs: int, steps: int, seed: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The reference, one rate: a torch Linear, cross entropy, autograd, torch's SGD and a schedule by hand.

    Returns what predicts the classes of features.
    """
    mean, factor = standardization(features)
    classifier = torch.nn.utils.skip_init(torch.nn.Linear, features.shape[1], 10)
    torch.nn.init.zeros_(classifier.weight)
    torch.nn.init.zeros_(classifier.bias)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1.0, momentum=0.9, nesterov=True)
    generator = torch.Generator().manual_seed(seed)
    batch_size = len(features) // steps
    step = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(features), generator=generator).split(batch_size):
            cosine = 0.5 * (1 + math.cos(math.pi * step / (epochs * steps)))
            optimizer.param_groups[0]["lr"] = rate * batch_size / 256 * cosine
            optimizer.zero_grad()
            logits = classifier((features[rows] - mean) * factor)
            torch.nn.functional.cross_entropy(logits, labels[rows]).backward()
            optimizer.step()
            step += 1
    return lambda images: classifier((images - mean) * factor).argmax(dim=1)


def test_one_learning_rate_is_trained_as_torch_sgd_would(digits: Any) -> None:
    features, labels = digits.train[:100], digits.train_labels[:100]
    expected = trained_by_torch(features, labels, rate=0.3, epochs=6, steps=4, seed=3)(digits.test)
    result = probe(
        digits,
        train=features,
        train_labels=labels,
        selection=None,
        selection_labels=None,
        epochs=6,
        batch_size=30,  # four batches of 25
        learning_rates=[0.3],
        seed=3,
    )
    assert torch.equal(result.test_ranked[:, 0], expected)
    assert 0.5 < accuracy(result, digits.test_labels) < 1


def test_all_learning_rates_at_once_are_as_torch_sgd_trains_one_after_the_other(digits: Any) -> None:
    rates, few = [2.0, 0.02, 0.5, 0.1], {"epochs": 4, "seed": 5}
    features, labels = digits.train[:300], digits.train_labels[:300]
    chooser, chooser_labels = digits.train[300:600], digits.train_labels[300:600]
    alone = {
        rate: (trained_by_torch(features, labels, rate=rate, steps=6, **few)(chooser) == chooser_labels)
        .double()
        .mean()
        .item()
        for rate in rates
    }
    best = max(rates, key=lambda rate: alone[rate])
    assert sorted(alone.values())[-1] > sorted(alone.values())[-2]  # there is one best
    both, both_labels = digits.train[:600], digits.train_labels[:600]
    expected = trained_by_torch(both, both_labels, rate=best, steps=12, **few)(digits.test)
    probe_with = partial(
        probe,
        digits,
        train=features,
        train_labels=labels,
        selection=chooser,
        selection_labels=chooser_labels,
        batch_size=50,
        **few,
    )
    result = probe_with(learning_rates=rates)
    assert (result.learning_rate, result.selection_top1) == (best, alone[best])
    assert torch.equal(result.test_ranked[:, 0], expected)
    for rate in rates:
        assert probe_with(learning_rates=[rate]).selection_top1 == alone[rate]


def test_the_selection_split_chooses_the_learning_rate(digits: Any) -> None:
    # Far too small a rate cannot tell digits apart, whatever the order it is listed in.
    for rates in ([1e-7, 0.3], [0.3, 1e-7]):
        result = probe(digits, epochs=5, learning_rates=rates)
        assert result.learning_rate == 0.3
        assert result.selection_top1 is not None
        assert result.selection_top1 > 0.8


def test_the_chosen_learning_rate_is_trained_again_on_train_and_selection_together(digits: Any) -> None:
    chosen = probe(digits, epochs=5)
    together = probe(
        digits,
        epochs=5,
        train=torch.cat([digits.train, digits.selection]),
        train_labels=torch.cat([digits.train_labels, digits.selection_labels]),
        selection=None,
        selection_labels=None,
        learning_rates=[chosen.learning_rate],
    )
    assert torch.equal(chosen.test_ranked[:, 0], together.test_ranked[:, 0])


@pytest.mark.parametrize("missing", [None, torch.empty(0, 5)])
def test_without_a_selection_split_the_middle_learning_rate_is_taken_and_the_result_says_so(
    missing: torch.Tensor | None,
) -> None:
    labels = None if missing is None else torch.empty(0, dtype=torch.int64)
    result = blob_probe(selection=missing, selection_labels=labels)
    assert result.learning_rate == 0.2
    assert result.selection_top1 is None


def test_of_equally_good_learning_rates_the_middle_one_is_taken() -> None:
    selection, selection_labels = blobs(12, seed=2)
    result = blob_probe(selection=selection, selection_labels=selection_labels)
    assert (result.learning_rate, result.selection_top1) == (0.2, 1)


def test_all_learning_rates_trained_at_once_are_as_each_trained_alone(digits: Any) -> None:
    best_alone = max(probe(digits, epochs=3, learning_rates=[rate]).selection_top1 or 0 for rate in LEARNING_RATES)
    assert probe(digits, epochs=3).selection_top1 == best_alone


def test_the_same_seed_gives_the_same_result_and_another_seed_another_order(digits: Any) -> None:
    few = {"epochs": 2, "batch_size": 16, "learning_rates": [0.4]}
    first = probe(digits, **few)
    again = probe(digits, **few)
    other = probe(digits, **few, seed=1)
    assert torch.equal(first.test_ranked[:, 0], again.test_ranked[:, 0])
    assert not torch.equal(first.test_ranked[:, 0], other.test_ranked[:, 0])


def test_a_batch_larger_than_the_data_set_is_the_whole_data_set() -> None:
    assert torch.equal(
        blob_probe(batch_size=10_000).test_ranked[:, 0],
        blob_probe(batch_size=60).test_ranked[:, 0],
    )
    assert torch.equal(blob_probe(batch_size=10_000).test_ranked[:, 0], blobs(30, seed=1)[1])


def test_features_without_variance_do_no_harm() -> None:
    train, test = blobs(60)[0], blobs(30, seed=1)[0]
    padded = blob_probe(train=torch.nn.functional.pad(train, (0, 3)), test=torch.nn.functional.pad(test, (0, 3)))
    assert torch.equal(padded.test_ranked[:, 0], blobs(30, seed=1)[1])
    constant = blob_probe(train=torch.ones(60, 5), test=torch.ones(30, 5))
    assert constant.test_ranked[:, 0].unique().numel() == 1


def test_the_scale_of_the_features_does_not_matter(digits: Any) -> None:
    scaled = digits._replace(train=digits.train * 1024, selection=digits.selection * 1024, test=digits.test * 1024)
    assert torch.equal(probe(scaled, epochs=5).test_ranked[:, 0], probe(digits, epochs=5).test_ranked[:, 0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_the_result_repeats_and_is_as_good_as_on_the_cpu(digits: Any) -> None:
    on_cuda = type(digits)(*[tensor.cuda() for tensor in digits])
    first, again = probe(on_cuda, epochs=20), probe(on_cuda, epochs=20)
    assert torch.equal(first.test_ranked[:, 0], again.test_ranked[:, 0])
    expected = accuracy(probe(digits, epochs=20), digits.test_labels)
    assert accuracy(first, on_cuda.test_labels) == pytest.approx(expected, abs=0.01)
