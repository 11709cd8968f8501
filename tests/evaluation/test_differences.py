"""How much better a backbone is than a baseline on the same images, against resamples drawn one by one."""

from typing import Any

import numpy as np
import pytest

from byol_cli.evaluation.differences import compared
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.scoring import means

RNG = np.random.default_rng(0)


def result(representation: str, hits: np.ndarray, **changes: Any) -> Result:
    values: dict[str, Any] = {"measure": "knn", "measured_on": "test", "settings": {}}
    return Result(representation=representation, **{**values, **changes}, **means({"top1": hits}, seed=0))


def test_the_difference_is_that_of_pairs_resampled_one_by_one() -> None:
    base = RNG.random(400) < 0.7
    better = np.where(RNG.random(400) < 0.1, True, base)  # a little better, image by image
    found = compared(result("trained", better), [result("untrained", base)], seed=1)
    low, high = found.difference["untrained"]["top1"]
    drawn = [RNG.integers(400, size=400) for _ in range(4000)]
    expected = np.quantile([better[rows].mean() - base[rows].mean() for rows in drawn], [0.025, 0.975])
    assert [low, high] == pytest.approx(expected.tolist(), abs=0.004)
    assert low > 0
    own_low, _ = found.interval["top1"]
    assert own_low < base.mean()  # which the intervals of both could not tell


def test_baselines_that_are_as_good_are_not_told_apart() -> None:
    hits = RNG.random(100) < 0.5
    (ends,) = compared(result("trained", hits), [result("pixels", hits)], seed=0).difference["pixels"].values()
    assert ends[0] == -ends[1] < 0


def test_only_the_same_measurement_of_the_same_images_is_compared() -> None:
    hits = RNG.random(50) < 0.5
    others = [
        result("untrained", hits, measure="linear"),
        result("untrained", hits, measured_on="selection"),
        result("untrained", hits[:40]),
        result("scratch", hits, settings={"fraction": 0.1}),
    ]
    assert compared(result("trained", hits), others, seed=0).difference == {}
    same = result("scratch", ~hits, settings={"fraction": 0.1, "head_factor": 5})
    found = compared(result("trained", hits, settings={"fraction": 0.1}), [*others, same], seed=0)
    assert set(found.difference) == {"scratch"}
