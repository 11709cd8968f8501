"""What the page is made of: numbers, curves, results, verdicts, maps, neighbours, confusions and sweeps."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from byol_cli.report.charts import MAX_POINTS, Chart, axis, chart_html, thinned
from byol_cli.report.confusion import confusion_html, shares
from byol_cli.report.coordinates import axes_of
from byol_cli.report.embedding_map import pca
from byol_cli.report.gallery import Gallery
from byol_cli.report.jobs import jobs_in, split_overrides
from byol_cli.report.markup import json_block, short_number, text
from byol_cli.report.neighbors import nearest, queries, same_class_share
from byol_cli.report.results import measured_in
from byol_cli.report.roc import roc_html, with_roc
from byol_cli.report.run_folder import read_run_folder
from byol_cli.report.settings import command
from byol_cli.report.tables import results_html
from byol_cli.report.verdict import duration, sentence

Line = Callable[..., dict[str, Any]]


@given(st.text())
def test_nothing_in_a_text_is_markup(words: str) -> None:
    assert not set(text(words)) & set("<>\"'\x00")
    block = json_block("data", {"names": [words]})
    assert block.count("<") == 2
    inside = block.split(">", 1)[1].rsplit("<", 1)[0]
    assert json.loads(inside) == {"names": [words]}


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0"), (1234.5, "1,234"), (0.03125, "0.03125"), (0.00002, "2e−5"), (3e7, "3e7"), (-0.5, "−0.5")],
)
def test_numbers_are_short(value: float, written: str) -> None:
    assert short_number(value) == written


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_an_axis_holds_its_values_between_few_round_ticks(least: float, span: float) -> None:
    most = least + span
    low, high, ticks = axis(least, most, limits=None)
    slack = 1e-6 * (high - low)
    assert low - slack <= least <= most <= high + slack
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))


def test_a_long_curve_keeps_its_ends_its_peak_and_its_gap() -> None:
    points = [(step, math.sin(step / 500)) for step in range(20_000)]
    points[7_777], points[9_999] = (7_777, 40.0), (9_999, math.nan)
    kept = thinned(points)
    assert len(kept) <= 2 * MAX_POINTS
    assert {points[0], points[-1], points[7_777]} <= set(kept)
    assert any(math.isnan(value) for _, value in kept)


def test_a_value_that_is_not_finite_breaks_the_line() -> None:
    drawn = chart_html(Chart(title="loss", points=[(1, 1.0), (2, math.nan), (3, 2.0), (4, 1.5)]))
    assert drawn.split('class="line" d="')[1].split('"')[0].count("M") == 2
    assert "1 not finite" in drawn
    assert chart_html(Chart(title="loss", points=[(1, math.inf)])) == ""


def evaluate(run_dir: Path, rows: list[Any]) -> None:
    (run_dir / "evaluations.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_the_newest_of_each_measurement_counts(run_dir: Path, make_evaluation: Line) -> None:
    few = {"measure": "few_label", "figures": {"top1": 0.7, "std": 0.02}, "interval": {}}
    evaluate(
        run_dir,
        [
            make_evaluation("trained", 0.5),
            make_evaluation("trained", 0.6),
            make_evaluation("trained", 0.0, **few, settings={"labels_per_class": 5}),
            make_evaluation("trained", 0.0, **few, settings={"labels_per_class": 10}),
            make_evaluation("trained", 0.8, dataset="elsewhere"),
        ],
    )
    found = measured_in(read_run_folder(run_dir, say=print))
    assert [(result.source, result.title, result.figures["top1"]) for result in found] == [
        ("digits", "Linear probe", 0.6),
        ("digits", "Few labels, 5 labels a class", 0.7),
        ("digits", "Few labels, 10 labels a class", 0.7),
        ("elsewhere", "Linear probe", 0.8),
    ]
    shown = results_html(found)
    assert shown.split("<details>")[0].count("<table") == 2
    assert "0.700<small> ± 0.020</small>" in shown


def test_hyper_parameters_are_told_and_lists_without_end_are_not(run_dir: Path, make_evaluation: Line) -> None:
    settings = {"learning_rates": [0.4, 0.1], "mode": "augmented", "fraction": 0.01, "accuracies": [0.123456] * 20}
    evaluate(run_dir, [make_evaluation("trained", 0.5, settings=settings)])
    shown = results_html(measured_in(read_run_folder(run_dir, say=print)))
    assert "learning rates 0.4, 0.1" in shown
    assert "Linear probe, augmented, 1 % of the labels" in shown
    assert "0.123456" not in shown


def test_a_roc_is_drawn_for_each_representation_that_has_one(run_dir: Path, make_evaluation: Line) -> None:
    curve = {"false_accept": [0.0, 0.01, 1.0], "true_accept": [0.0, 0.5, 1.0]}
    more = {"measure": "retrieval", "figures": {"equal_error_rate": 0.2}, "interval": {}}
    evaluate(
        run_dir,
        [
            make_evaluation("trained", 0, **more, settings={"roc": curve}),
            make_evaluation("untrained", 0, **more, settings={"roc": {"false_accept": [0], "true_accept": []}}),
            make_evaluation("pixels", 0, **more, settings={"roc": curve}),
        ],
    )
    results = measured_in(read_run_folder(run_dir, say=print))
    assert [result.representation for result in with_roc(results)] == ["trained", "pixels"]
    drawn = roc_html(results).split('class="trained" d="M')[1].split('"')[0]
    assert [tuple(map(float, place.split())) for place in drawn.split("L")] == [(50, 256), (220, 133), (390, 10)]
    assert results_html(results).count("0.200") == 3


def test_without_evaluations_the_summary_stands_in(run_dir: Path) -> None:
    (run_dir / "evaluations.jsonl").unlink()
    scores = {"linear_top1": 0.9, "knn_top1": None, "measured_on": "selection"}
    (run_dir / "summary.json").write_text(json.dumps({**scores, "untrained": scores | {"linear_top1": 0.7}}))
    found = measured_in(read_run_folder(run_dir, say=print))
    assert [(result.representation, result.measured_on, result.figures) for result in found] == [
        ("trained", "selection", {"top1": 0.9}),
        ("untrained", "selection", {"top1": 0.7}),
    ]


@pytest.mark.parametrize("confusion", [[[1, 2]], "no", [[1, -1, 0]] * 3, [[1.5, 0, 0]] * 3, [1, 2, 3], []])
def test_a_confusion_of_another_shape_is_none(run_dir: Path, make_evaluation: Line, confusion: Any) -> None:
    evaluate(run_dir, [make_evaluation("trained", 0.9, confusion=confusion)])
    (result,) = measured_in(read_run_folder(run_dir, say=print))
    assert result.confusion is None


@pytest.mark.parametrize(
    ("untrained", "pixels", "said"),
    [
        (0.80, 0.85, "Better than the untrained backbone and raw pixels. No sign of collapse."),
        (0.80, 0.91, "Better than the untrained backbone, but no better than raw pixels. No sign of collapse."),
        (0.80, 0.99, "Better than the untrained backbone, but not as good as raw pixels. No sign of collapse."),
        (0.90, 0.99, "No better than the untrained backbone and not as good as raw pixels. No sign of collapse."),
        (0.99, 0.99, "Not as good as the untrained backbone and raw pixels. No sign of collapse."),
    ],
)
def test_the_verdict_goes_by_the_interval(
    run_dir: Path, make_evaluation: Line, untrained: float, pixels: float, said: str
) -> None:
    scores = {"trained": 0.9, "untrained": untrained, "pixels": pixels}
    evaluate(run_dir, [make_evaluation(name, value) for name, value in scores.items()])
    assert sentence(read_run_folder(run_dir, say=print)) == said


@pytest.mark.parametrize(("seconds", "said"), [(5.2, "5 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (None, None)])
def test_durations_are_said_as_people_do(seconds: float | None, said: str | None) -> None:
    assert duration(seconds) == said


def test_the_map_is_the_one_of_scikit_learn_but_for_signs() -> None:
    vectors = F.normalize(torch.randn(50, 9, generator=torch.Generator().manual_seed(1)), dim=1)
    theirs = PCA(2).fit_transform(vectors.numpy())
    assert np.allclose(pca(vectors).abs().numpy(), np.abs(theirs), atol=1e-4)
    assert pca(vectors[:2]).shape == (2, 2)
    assert pca(vectors[:, :1]).shape == (50, 2)


def test_neighbours_are_those_of_the_largest_cosine(sample: Gallery) -> None:
    places, cosines = nearest(sample, count=4)
    for image in range(len(sample)):
        all_cosines = F.cosine_similarity(sample.features[image : image + 1], sample.features)
        ranked = [other for other in all_cosines.argsort(descending=True).tolist() if other != image]
        assert places[image].tolist() == ranked[:4]
        assert torch.allclose(cosines[image], all_cosines[ranked[:4]], atol=1e-5)


def test_queries_are_of_as_many_classes_as_there_are(make_sample: Callable[..., Gallery]) -> None:
    sample = make_sample(90)
    assert sample.labels is not None
    assert sorted(sample.labels[queries(sample)].bincount().tolist()) == [2, 3, 3]
    assert len(set(queries(make_sample(90, labelled=False)))) == 8
    assert len(queries(make_sample(2))) == 2


def test_the_share_of_like_neighbours_is_counted(sample: Gallery) -> None:
    places, _ = nearest(sample)
    assert sample.labels is not None
    right = sum(int(sample.labels[image]) == int(sample.labels[places[image, 0]]) for image in range(60))
    assert same_class_share(sample) == (pytest.approx(right / 60), 60)


def test_the_share_of_like_neighbours_is_the_recall_of_retrieval(make_sample: Callable[..., Gallery]) -> None:
    from byol_cli.evaluation.search import search_figures

    sample = replace(make_sample(60), labels=torch.tensor([0, 1] * 29 + [2, -1]))
    sample.features[:40] = sample.features[0]  # of two classes, all alike: nothing is nearest
    assert sample.labels is not None
    recall = search_figures(sample.features[:59], sample.labels[:59], ks=[1])["recall_at_1"]
    assert same_class_share(sample) == (pytest.approx(recall), 58)  # the only image of its class is not asked for
    assert recall < 0.5


def test_confusions_are_counted_listed_and_for_many_classes_drawn(run_dir: Path, make_evaluation: Line) -> None:
    (result, *_) = measured_in(read_run_folder(run_dir, say=print))
    shown = confusion_html(result)
    assert shown.index("3 of 10") < shown.index("1 of 10")
    assert "<img" not in shown
    names = [f"class {number}" for number in range(40)]
    matrix = np.eye(40, dtype=int).tolist()
    evaluate(run_dir, [make_evaluation("trained", 1.0, classes=names, confusion=matrix)])
    (result,) = measured_in(read_run_folder(run_dir, say=print))
    assert 'width="40" height="40"' in confusion_html(result)
    assert shares([[1, 3], [0, 0]]).tolist() == [[0.25, 0.75], [0, 0]]


def test_overrides_with_spaces_in_their_values_are_split() -> None:
    words = "optimizer.lr=0.3 backbone.widths=[16, 32] +new=1 dataset.root='my photos'"
    assert split_overrides(words) == {
        "optimizer.lr": "0.3",
        "backbone.widths": "[16, 32]",
        "+new": "1",
        "dataset.root": "'my photos'",
    }


def test_axes_of_a_sweep_are_by_size_and_where_they_span_much_logarithmic(sweep_dir: Path) -> None:
    rates, kinds = axes_of(jobs_in(read_run_folder(sweep_dir, say=print)))
    assert rates.places == pytest.approx({"0.3": 2 / 3, "0.003": 0.0, "3.0": 1.0})
    assert kinds.places == {"adam": 0.25, "sgd": 0.75}


def test_commands_can_be_pasted() -> None:
    assert command("byol-eval", checkpoint="runs/a-1") == "byol-eval checkpoint=runs/a-1"
    assert command("byol-eval", checkpoint="my run") == "byol-eval 'checkpoint=\"my run\"'"
