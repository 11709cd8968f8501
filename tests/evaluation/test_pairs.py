"""Which pairs are verified, and what is made of their similarities."""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from byol_cli.data.images import ArrayImages, FileImages
from byol_cli.data.path_table import scan
from byol_cli.evaluation.pairs import Pairs, draw_pairs, read_pairs
from byol_cli.evaluation.verification import roc, verification_figures
from byol_cli.schema.errors import InputError


def as_sets(pairs: Pairs) -> list[tuple[frozenset[int], bool]]:
    return [
        (frozenset((a, b)), same)
        for a, b, same in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.same.tolist(), strict=True)
    ]


@given(st.lists(st.integers(0, 4), max_size=14), st.integers(2, 60), st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_drawn_pairs_are_distinct_true_and_as_many_as_there_are(labels: list[int], wanted: int, seed: int) -> None:
    drawn = as_sets(draw_pairs(np.array(labels, dtype=np.int64), num_pairs=wanted, seed=seed))
    every = [(frozenset(pair), labels[pair[0]] == labels[pair[1]]) for pair in combinations(range(len(labels)), 2)]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(every)
    for kind in (True, False):
        assert [same for _, same in drawn].count(kind) == min(wanted // 2, [same for _, same in every].count(kind))


def test_every_pair_of_a_kind_is_drawn_equally_often() -> None:
    labels = np.array([0, 1, 0, 1, 0, 2])
    counts: dict[frozenset[int], int] = {}
    for seed in range(600):
        for pair, _ in as_sets(draw_pairs(labels, num_pairs=4, seed=seed)):
            counts[pair] = counts.get(pair, 0) + 1
    same = [counts[frozenset(pair)] for pair in combinations(range(6), 2) if labels[pair[0]] == labels[pair[1]]]
    different = [counts[frozenset(pair)] for pair in combinations(range(6), 2) if labels[pair[0]] != labels[pair[1]]]
    assert (len(same), len(different)) == (4, 11)
    assert all(230 < count < 370 for count in same)  # 300, deviation 12
    assert all(60 < count < 160 for count in different)  # 109, deviation 9


def test_the_same_seed_draws_the_same_pairs_and_another_one_others() -> None:
    labels = np.arange(200) % 7
    first, again, other = (draw_pairs(labels, num_pairs=50, seed=seed) for seed in (1, 1, 2))
    assert as_sets(first) == as_sets(again) != as_sets(other)


def test_of_millions_of_images_pairs_are_drawn_at_once() -> None:
    labels = np.arange(2_000_000) % 1000
    pairs = draw_pairs(labels, num_pairs=1000, seed=0)
    assert (labels[pairs.first] == labels[pairs.second]).tolist() == pairs.same.tolist()
    assert (pairs.first != pairs.second).all()


scored = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({same for _, same in pairs}) == 2
)


@given(scored)
@settings(deadline=None)
def test_the_curve_is_that_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    similarities, same = np.array([score / 4 for score, _ in pairs]), np.array([same for _, same in pairs])
    curve = roc(similarities, same)
    false, true, _ = roc_curve(same, similarities, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_accept, false)
    np.testing.assert_allclose(curve.true_accept, true)
    assert curve.area() == pytest.approx(roc_auc_score(same, similarities))


@given(scored)
@settings(deadline=None)
def test_the_equal_error_rate_lies_between_the_thresholds_where_the_errors_cross(pairs: list[tuple[int, bool]]) -> None:
    similarities, same = np.array([score for score, _ in pairs]), np.array([same for _, same in pairs])
    rate = roc(similarities, same).equal_error_rate()
    refused = [(same & (similarities < line)).sum() / same.sum() for line in range(-4, 6)]
    accepted = [(~same & (similarities >= line)).sum() / (~same).sum() for line in range(-4, 6)]
    best = min(max(a, r) for a, r in zip(accepted, refused, strict=True))
    worst = max(min(a, r) for a, r in zip(accepted, refused, strict=True))
    assert worst - 1e-9 <= rate <= best + 1e-9


@given(scored, st.sampled_from([0.1, 0.25, 0.5]))
@settings(deadline=None)
def test_true_accept_is_the_best_of_all_thresholds_that_accept_few_enough(
    pairs: list[tuple[int, bool]], allowed: float
) -> None:
    similarities, same = np.array([score for score, _ in pairs]), np.array([same for _, same in pairs])
    lines = [line for line in range(-4, 6) if (~same & (similarities >= line)).sum() <= allowed * (~same).sum()]
    expected = max((same & (similarities >= line)).sum() / same.sum() for line in lines)
    assert roc(similarities, same).true_accept_at(allowed) == pytest.approx(expected)


def test_figures_by_hand() -> None:
    similarities = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    same = np.array([True, True, False, True, False, True, False, False])
    figures = verification_figures(roc(similarities, same), rates=[0.25, 0.5, 0.1], num_different=4)
    assert figures == {
        "roc_area": 13 / 16,
        "equal_error_rate": 0.25,
        "true_accept_at_false_accept_0.25": 0.75,
        "true_accept_at_false_accept_0.5": 1.0,
    }  # four different pairs cannot tell 0.1


def test_features_that_are_all_alike_verify_as_chance_does() -> None:
    curve = roc(np.ones(10), np.arange(10) < 3)
    assert (curve.area(), curve.equal_error_rate(), curve.true_accept_at(0.01)) == (0.5, 0.5, 0.0)


def test_the_points_for_a_picture_are_few_and_end_where_the_curve_ends() -> None:
    rng = np.random.default_rng(0)
    points = roc(rng.normal(size=5000), rng.random(5000) < 0.5).points()
    assert len(points["true_accept"]) == len(points["false_accept"]) <= 200
    assert (points["false_accept"][0], points["false_accept"][-1]) == (0, 1)


@pytest.fixture
def photos(tmp_path: Path) -> FileImages:
    names = [f"{folder}/{number}.png" for folder in ("cat", "dog") for number in range(3)]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return FileImages(
        paths=scan([tmp_path / "photos"], (".png",)), channels=3, labels=None, class_names=(), skips_bad=False
    )


def write(path: Path, rows: Sequence[str], *, header: str = "path1,path2,same") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def named(photos: FileImages, path: Path) -> list[tuple[str, str, bool]]:
    (part,), pairs = read_pairs(path, [photos])
    return [
        (part.name(a), part.name(b), same)
        for a, b, same in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.same.tolist(), strict=True)
    ]


def test_paths_are_absolute_or_relative_to_the_root_or_to_the_file(photos: FileImages, tmp_path: Path) -> None:
    rows = [
        f"cat/0.png,{tmp_path}/photos/cat/1.png,1",
        "../photos/dog/2.png, cat/0.png ,False",
        "dog/2.png,dog/0.png,TRUE",
    ]
    expected = [("cat/0.png", "cat/1.png", True), ("dog/2.png", "cat/0.png", False), ("dog/2.png", "dog/0.png", True)]
    assert named(photos, write(tmp_path / "lists" / "pairs.csv", rows)) == expected


def test_each_image_is_taken_once_and_more_columns_do_not_matter(photos: FileImages, tmp_path: Path) -> None:
    rows = ["1,cat/0.png,cat/1.png,x", "0,cat/1.png,dog/1.png,x", "0,cat/0.png,dog/1.png,x"]
    (part,), pairs = read_pairs(write(tmp_path / "p.csv", rows, header="same,path1,path2,who"), [photos])
    assert len(part) == 3
    assert pairs.same.tolist() == [True, False, False]


def test_images_of_two_sets_are_counted_one_set_after_the_other(photos: FileImages, tmp_path: Path) -> None:
    digits = ArrayImages(images=torch.zeros(4, 3, 8, 8, dtype=torch.uint8), labels=None, class_names=(), title="digits")
    parts, pairs = read_pairs(
        write(tmp_path / "p.csv", ["digits/3,cat/2.png,0", "digits/1,digits/3,1"]), [photos, digits]
    )
    assert [[part.name(i) for i in range(len(part))] for part in parts] == [["cat/2.png"], ["digits/1", "digits/3"]]
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([2, 1], [0, 2])


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (["cat/0.png,cat/9.png,1"], "path1,path2,same", "line 2: cat/9.png is no image of the data set"),
        (["cat/0.png,cat/1.png,1", "cat/0.png,,0"], "path1,path2,same", "line 3: path1 and path2 are needed"),
        (["cat/0.png,cat/1.png,maybe"], "path1,path2,same", "line 2: same=maybe must be 1 (of one class) or 0"),
        (["cat/0.png,cat/1.png"], "path1,path2,same", "line 2: same= must be 1"),
        (["cat/0.png,cat/1.png,1"], "a,b,same", "the first line must name the columns path1, path2 and same"),
        ([], "path1,path2,same", "names no pairs"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    photos: FileImages, tmp_path: Path, rows: list[str], header: str, words: str
) -> None:
    path = write(tmp_path / "p.csv", rows, header=header)
    with pytest.raises(InputError) as refused:
        read_pairs(path, [photos])
    message = str(refused.value)
    assert words in message
    assert message.startswith(f"evaluation.retrieval.pairs={path}")
    assert "\n" not in message


def test_a_file_that_is_not_there_or_no_text_is_refused(photos: FileImages, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pairs=.*none.csv: No such file"):
        read_pairs(tmp_path / "none.csv", [photos])
    (tmp_path / "noise.csv").write_bytes(bytes(range(128, 256)) + os.linesep.encode())
    with pytest.raises(InputError, match="no CSV file in UTF-8"):
        read_pairs(tmp_path / "noise.csv", [photos])
