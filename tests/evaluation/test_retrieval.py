"""Search among images by cosine, against plain loops and scikit-learn; then search and pairs as results."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from byol_cli.data.bad_images import BadImages
from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Splits, Subset, whole
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.retrieval import plan_retrieval, retrieval_results
from byol_cli.evaluation.search import search_figures
from byol_cli.schema.errors import InputError
from byol_cli.schema.retrieval import RetrievalConfig

CPU = torch.device("cpu")
CONFIG = RetrievalConfig(among="auto", k=[1, 5], pairs=None, num_pairs=400, false_accept_rates=[0.05, 1e-6])


def cosines(features: np.ndarray) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return (unit @ unit.T).round(6)


def slow_figures(similarities: np.ndarray, labels: np.ndarray, ks: list[int]) -> dict[str, float]:
    hits: dict[int, list[bool]] = {k: [] for k in ks}
    precisions = []
    for query in range(len(labels)):
        others = [other for other in range(len(labels)) if other != query]
        truth = [labels[other] == labels[query] for other in others]
        if not any(truth):
            continue
        scores = [similarities[query, other] for other in others]
        precisions.append(average_precision_score(truth, scores))
        ranking = sorted(others, key=lambda other: (-similarities[query, other], labels[other] == labels[query]))
        for k in ks:
            hits[k].append(any(labels[other] == labels[query] for other in ranking[:k]))
    return {**{f"recall_at_{k}": float(np.mean(found)) for k, found in hits.items()}, "map": float(np.mean(precisions))}


@given(st.integers(0, 10_000), st.integers(3, 25), st.integers(1, 6), st.sampled_from([1, 50, 10_000]))
@settings(max_examples=40, deadline=None)
def test_figures_are_those_of_scikit_learn_and_plain_loops(seed: int, images: int, classes: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(images, 5)), rng.integers(classes, size=images)
    labels[:2] = 0
    figures = search_figures(
        torch.from_numpy(features).float(), torch.from_numpy(labels), ks=[1, 3, 99], chunk_values=chunk
    )
    assert figures == pytest.approx(slow_figures(cosines(features), labels, [1, 3, 99]), abs=1e-5)


@given(st.integers(0, 10_000), st.integers(3, 20))
@settings(max_examples=40, deadline=None)
def test_images_equally_near_share_a_rank_as_in_scikit_learn(seed: int, images: int) -> None:
    """Features along one of four axes: cosines are 0 and 1, exactly."""
    rng = np.random.default_rng(seed)
    features, labels = np.eye(4)[rng.integers(4, size=images)] * 3, rng.integers(3, size=images)
    labels[:2] = 0
    figures = search_figures(torch.from_numpy(features).float(), torch.from_numpy(labels), ks=[1])
    assert figures == pytest.approx(slow_figures(cosines(features), labels, [1]), abs=1e-6)


def test_features_that_are_all_alike_have_the_precision_of_chance() -> None:
    labels = torch.arange(100) % 4
    figures = search_figures(torch.ones(100, 8), labels, ks=[1])
    assert figures["map"] == pytest.approx(24 / 99)
    assert figures["recall_at_1"] == 0


def test_well_separated_classes_are_found_whatever_the_length_of_their_features() -> None:
    labels = torch.arange(60) % 3
    lengths = torch.rand(60, 1, generator=torch.Generator().manual_seed(0)) + 0.1
    assert search_figures(torch.eye(3)[labels] * lengths, labels, ks=[1, 5]) == {
        "recall_at_1": 1.0,
        "recall_at_5": 1.0,
        "map": pytest.approx(1.0),
    }


def test_an_image_alone_in_its_class_asks_for_nothing_but_is_found_by_mistake() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    figures = search_figures(features, torch.tensor([0, 0, 1]), ks=[1, 2])
    assert figures == {"recall_at_1": 0.0, "recall_at_2": 1.0, "map": 0.5}  # both others find the one alone first
    assert search_figures(features, torch.tensor([0, 1, 2]), ks=[1]) == {}


@pytest.fixture
def splits(digits: Any) -> Splits:
    images = ArrayImages(
        images=(digits.test * 255).to(torch.uint8).view(-1, 1, 8, 8),
        labels=digits.test_labels.numpy(),
        class_names=tuple("0123456789"),
        title="digits",
    )
    part = whole(images)
    return Splits(
        pretrain=part.take(np.arange(0, 100)),
        train=part.take(np.arange(0, 100)),
        selection=part.take(np.arange(100, 150)),
        test=part.take(np.arange(150, len(images))),
        class_names=images.class_names,
        fingerprint="",
        channels=1,
        bad_images=BadImages(num_images=len(images), max_share=0.5, say=print),
    )


def pixels(subset: Subset) -> torch.Tensor:
    assert isinstance(subset.images, ArrayImages)
    return subset.images.images[subset.indices].flatten(1).float()


def noise(subset: Subset) -> torch.Tensor:
    return torch.randn(len(subset), 16, generator=torch.Generator().manual_seed(0))


def measure_all(
    splits: Splits,
    config: RetrievalConfig = CONFIG,
    *,
    unseen: bool = False,
    **features: Callable[[Subset], torch.Tensor],
) -> list[Result]:
    plan = plan_retrieval(config, splits, unseen=unseen)
    of = features or {"pixels": pixels}
    return list(retrieval_results(config, plan=plan, features=of, device=CPU, seed=0))


def measure(splits: Splits, config: RetrievalConfig = CONFIG, **how: Any) -> Result:
    (result,) = measure_all(splits, config, **how)
    return result


def test_digits_are_found_and_verified_by_their_pixels_but_not_by_noise(splits: Splits) -> None:
    found, chance = measure_all(splits, pixels=pixels, untrained=noise)
    assert (found.measure, found.representation, found.measured_on) == ("retrieval", "pixels", "test")
    assert found.figures["recall_at_1"] > 0.85 > 0.3 > chance.figures["recall_at_1"]
    assert found.figures["roc_area"] > 0.8 > 0.65 > chance.figures["roc_area"]
    assert found.figures["equal_error_rate"] < 0.25 < 0.4 < chance.figures["equal_error_rate"]
    assert "true_accept_at_false_accept_0.05" in found.figures
    assert "true_accept_at_false_accept_1e-06" not in found.figures  # 200 different pairs cannot tell
    assert found.settings["same_pairs"] == found.settings["different_pairs"] == 200


def test_the_same_twice_is_the_same(splits: Splits) -> None:
    assert measure(splits) == measure(splits)


def test_without_a_test_set_the_selection_split_is_searched_and_without_that_all_training_images(
    splits: Splits,
) -> None:
    without_test = replace(splits, test=None)
    result = measure(without_test)
    assert (result.measured_on, result.settings["images"]) == ("selection", 50)
    result = measure(replace(without_test, selection=splits.selection.take(np.arange(0))))
    assert (result.measured_on, result.settings["images"]) == ("train", 100)


def test_all_labelled_images_are_searched_where_that_is_said_or_none_of_them_was_trained_on(splits: Splits) -> None:
    one_each = np.unique(splits.test.labels, return_index=True)[1]  # type: ignore[union-attr, arg-type]
    few = replace(splits, test=splits.test.take(one_each))  # type: ignore[union-attr]
    with pytest.raises(InputError, match="evaluation.retrieval.among=all takes all labelled images"):
        measure(few)
    for how in ({"config": replace(CONFIG, among="all")}, {"unseen": True}):
        result = measure(few, **how)  # type: ignore[arg-type]
        assert (result.measured_on, result.settings["images"]) == ("all", 160)
    together = torch.cat([pixels(part) for part in (few.train, few.selection, few.test) if part])
    labels = torch.cat([torch.from_numpy(part.labels) for part in (few.train, few.selection, few.test) if part])
    assert result.figures["map"] == search_figures(together, labels, ks=[1])["map"]
    result = measure(splits, replace(CONFIG, among="test"), unseen=True)
    assert (result.measured_on, result.settings["among"]) == ("test", "test")


def test_labels_of_the_test_images_are_enough(splits: Splits) -> None:
    images = splits.train.images.without_labels()
    bare: Any = {name: Subset(images, getattr(splits, name).indices) for name in ("pretrain", "train", "selection")}
    for unseen in (False, True):
        assert measure(replace(splits, **bare), unseen=unseen).figures == measure(splits).figures


def test_settings_tell_every_hyper_parameter_and_figures_of_queries_have_intervals(splits: Splits) -> None:
    result = measure(splits)
    told = asdict(CONFIG) | {"pairs": "drawn", "images": 247, "skipped_images": 0, "seed": 0}
    assert {name: result.settings[name] for name in told} == told
    assert set(result.interval) == {"recall_at_1", "recall_at_5", "map"}
    for name, (low, high) in result.interval.items():
        assert low < result.figures[name] < high < low + 0.1


def test_images_that_cannot_be_read_are_left_out(splits: Splits) -> None:
    assert splits.test is not None
    rest = replace(splits, test=splits.test.take(np.arange(20, len(splits.test))))

    def without_some(subset: Subset) -> torch.Tensor:
        features = pixels(subset)
        features[:20] = torch.nan
        return features

    assert measure(splits, pixels=without_some).figures == measure(rest).figures


def pair_file(path: Path, numbers: list[tuple[int, int]], labels: np.ndarray) -> RetrievalConfig:
    rows = [f"digits/{a},digits/{b},{int(labels[a] == labels[b])}" for a, b in numbers]
    path.write_text("\n".join(["path1,path2,same", *rows]))
    return replace(CONFIG, pairs=str(path))


def test_a_file_of_pairs_needs_no_labels(splits: Splits, tmp_path: Path) -> None:
    images = splits.train.images
    labels, rng = images.labels, np.random.default_rng(0)
    assert labels is not None
    numbers = [(int(a), int(b)) for a, b in rng.integers(len(images), size=(300, 2)) if a != b]
    config = pair_file(tmp_path / "pairs.csv", numbers, labels)
    bare: dict[str, Any] = {
        name: Subset(images.without_labels(), getattr(splits, name).indices) for name in ("train", "selection", "test")
    }
    result = measure(replace(splits, **bare, pretrain=bare["train"], class_names=()), config)
    similarities = cosines(pixels(whole(images)).double().numpy())
    expected = roc_auc_score([labels[a] == labels[b] for a, b in numbers], [similarities[pair] for pair in numbers])
    assert result.figures["roc_area"] == pytest.approx(expected, abs=1e-4)
    assert set(result.figures) == {"roc_area", "equal_error_rate", "true_accept_at_false_accept_0.05"}
    assert result.measured_on == "pairs"
    searched, verified = measure_all(splits, config)
    assert (searched.measured_on, verified.measured_on) == ("test", "pairs")
    assert verified.figures == result.figures
    assert set(searched.figures) == {"recall_at_1", "recall_at_5", "map"}
    assert searched.figures["recall_at_1"] == measure(splits).figures["recall_at_1"]


def test_a_pair_of_which_an_image_cannot_be_read_is_left_out(splits: Splits, tmp_path: Path) -> None:
    labels = splits.train.images.labels
    assert labels is not None
    numbers = [(a, b) for a in range(12) for b in range(a)]
    config = pair_file(tmp_path / "pairs.csv", numbers, labels)

    def without_the_first(subset: Subset) -> torch.Tensor:
        features = pixels(subset)
        features[subset.indices == 0] = torch.nan
        return features

    _, verified = measure_all(splits, config, pixels=without_the_first)
    settings = verified.settings
    assert settings["same_pairs"] + settings["different_pairs"] == len(numbers) - 11


def test_what_cannot_be_measured_is_refused_in_one_line(splits: Splits, tmp_path: Path) -> None:
    images = splits.train.images
    bare: dict[str, Any] = {
        name: Subset(images.without_labels(), splits.train.indices) for name in ("train", "selection", "test")
    }
    with pytest.raises(InputError, match="needs labels, or evaluation.retrieval.pairs=FILE"):
        measure(replace(splits, **bare))
    assert splits.test is not None
    labels = splits.test.labels
    assert labels is not None
    with pytest.raises(InputError, match="two classes or more"):
        measure(replace(splits, test=splits.test.take(labels == 3)))
    with pytest.raises(InputError, match="no two of its 10 images are of the same class"):
        measure(replace(splits, test=splits.test.take(np.unique(labels, return_index=True)[1])))
    one_kind = pair_file(tmp_path / "pairs.csv", [(1, 1), (2, 2)], np.zeros(10))
    with pytest.raises(InputError, match="none of 2 pairs of images is of two classes"):
        measure(splits, one_kind)
    with pytest.raises(InputError, match="No such file"):
        measure(splits, replace(CONFIG, pairs=str(tmp_path / "missing.csv")))


@pytest.mark.parametrize("change", [{"k": []}, {"k": [1, 1]}, {"false_accept_rates": [0.1, 0.1]}])
def test_a_configuration_that_says_nothing_or_something_twice_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(CONFIG, **change)
