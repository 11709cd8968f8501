"""Whose figures stand beside each other: the same images, the same checkpoint; and what the verdict makes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from byol_cli.report.page import write_report
from byol_cli.report.results import measured_in
from byol_cli.report.roc import roc_html, with_roc
from byol_cli.report.run_folder import read_run_folder
from byol_cli.report.tables import results_html
from byol_cli.report.verdict import comparison_in, sentence, verdict_html

Line = Callable[..., dict[str, Any]]


def evaluate(run_dir: Path, rows: list[Any]) -> None:
    (run_dir / "evaluations.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def captions(run_dir: Path) -> list[str]:
    shown = results_html(measured_in(read_run_folder(run_dir, say=print))).split("How it was measured")[0]
    return [part.split("</caption>")[0] for part in shown.split("<caption>")[1:]]


def photos(folder: str, images: str) -> dict[str, Any]:
    return {
        "dataset": "image_folder",
        "data": {"name": "image_folder", "root": folder},
        "data_fingerprint": images,
        "checkpoint_sha256": "c" * 64,
        "step": 60,
    }


@pytest.fixture
def photo_run(run_dir: Path, make_evaluation: Line) -> Path:
    """A run on the images in `mine`, then measured on those in `other`, by k-NN too."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["dataset"] = {"name": "image_folder", "root": "mine"}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    mine, other = photos("mine", "a" * 64), photos("other", "b" * 64)
    evaluate(
        run_dir,
        [
            make_evaluation("trained", 0.9, command="byol-train", **mine),
            make_evaluation("untrained", 0.8, command="byol-train", **mine),
            make_evaluation("trained", 0.3, command="byol-eval", **other),
            make_evaluation("pixels", 0.2, command="byol-eval", **other),
            make_evaluation("trained", 0.31, measure="knn", command="byol-eval", **other),
        ],
    )
    return run_dir


def test_images_of_two_folders_are_two_tables_and_the_verdict_is_on_the_runs_own(photo_run: Path) -> None:
    assert captions(photo_run) == [
        "On the test images of image_folder (mine)",
        "On the test images of image_folder (other)",
    ]
    run = read_run_folder(photo_run, say=print)
    comparison = comparison_in(run)
    assert comparison is not None
    assert comparison.values == {"trained": 0.9, "untrained": 0.8}
    assert "top-1 accuracy on the test images of image_folder (mine)" in verdict_html(run, under="")


@pytest.mark.parametrize("folder", ["mine", None])
def test_other_images_of_the_same_name_are_told_apart_by_their_digest(
    photo_run: Path, make_evaluation: Line, folder: str | None
) -> None:
    rows = [json.loads(line) for line in (photo_run / "evaluations.jsonl").read_text().splitlines()]
    for row in rows:
        row["data"] = {"name": "image_folder", "root": folder} if folder else None
    evaluate(photo_run, rows)
    title = "image_folder (mine)" if folder else "image_folder"
    assert captions(photo_run) == [
        f"On the test images of {title}, images aaaaaaaa",
        f"On the test images of {title}, images bbbbbbbb",
    ]


def test_the_same_images_by_another_path_are_one_table(run_dir: Path, make_evaluation: Line) -> None:
    lines = [photos("mine", "a" * 64), photos("/home/me/mine", "a" * 64)]
    evaluate(run_dir, [make_evaluation("trained", 0.9, **line) for line in lines])
    assert len(captions(run_dir)) == 1


def test_settings_that_differ_are_told_of_each_folder(photo_run: Path) -> None:
    rows = [json.loads(line) for line in (photo_run / "evaluations.jsonl").read_text().splitlines()]
    rows[2]["settings"] = {"epochs": 5}
    evaluate(photo_run, rows)
    shown = results_html(measured_in(read_run_folder(photo_run, say=print))).split("How it was measured")[1]
    assert "Linear probe, on the test images of image_folder (mine)</th><td>epochs 80" in shown
    assert "Linear probe, on the test images of image_folder (other)</th><td>epochs 5" in shown


def test_before_training_has_measured_the_images_of_the_configuration_count(photo_run: Path) -> None:
    rows = [json.loads(line) for line in (photo_run / "evaluations.jsonl").read_text().splitlines()]
    evaluate(photo_run, [row | {"command": "byol-eval"} for row in [*rows[2:], *rows[:2]]])
    comparison = comparison_in(read_run_folder(photo_run, say=print))
    assert comparison is not None
    assert comparison.values == {"trained": 0.9, "untrained": 0.8}


def test_what_is_measured_elsewhere_alone_is_a_verdict_too(photo_run: Path) -> None:
    rows = [json.loads(line) for line in (photo_run / "evaluations.jsonl").read_text().splitlines()]
    evaluate(photo_run, rows[2:])
    assert "image_folder (other)" in verdict_html(read_run_folder(photo_run, say=print), under="")


def test_checkpoints_are_not_mixed_and_the_newest_counts(run_dir: Path, make_evaluation: Line) -> None:
    best = {"checkpoint_sha256": "b" * 64, "step": 40}
    last = {"checkpoint_sha256": "a" * 64, "step": 1060}
    evaluate(
        run_dir,
        [
            make_evaluation("trained", 0.9, **last),
            make_evaluation("untrained", 0.5, **last),
            make_evaluation("trained", 0.7, **best),
            make_evaluation("untrained", 0.99, **best),
            make_evaluation("trained", 0.95, **last),
        ],
    )
    assert captions(run_dir) == ["On the test images of digits, step 1,060", "On the test images of digits, step 40"]
    results = measured_in(read_run_folder(run_dir, say=print))
    newest, older = results_html(results).split("<summary>Older checkpoints</summary>")
    assert ("0.950" in newest, "0.700" in newest, "0.700" in older) == (True, False, True)
    comparison = comparison_in(read_run_folder(run_dir, say=print))
    assert comparison is not None
    assert comparison.values == {"trained": 0.95, "untrained": 0.5}


def test_checkpoints_of_the_same_step_are_told_apart(run_dir: Path, make_evaluation: Line) -> None:
    evaluate(run_dir, [make_evaluation("trained", 0.9, checkpoint_sha256=sign * 64, step=5) for sign in "ab"])
    assert captions(run_dir) == [
        "On the test images of digits, step 5, checkpoint bbbbbbbb",
        "On the test images of digits, step 5, checkpoint aaaaaaaa",
    ]


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ([0.01, 0.05], "Better than the untrained backbone"),
        ([-0.01, 0.05], "No better than the untrained backbone"),
        ([-0.3, -0.05], "Not as good as the untrained backbone"),
    ],
)
def test_the_verdict_goes_by_the_interval_of_the_difference_where_it_is_known(
    run_dir: Path, make_evaluation: Line, interval: list[float], said: str
) -> None:
    difference = {"untrained": {"top1": interval}}
    rows = [make_evaluation("trained", 0.9, difference=difference), make_evaluation("untrained", 0.87)]
    evaluate(run_dir, rows)
    assert sentence(read_run_folder(run_dir, say=print)).startswith(said)


def test_few_images_make_nothing_better(run_dir: Path, make_evaluation: Line) -> None:
    def rows(images: int) -> list[dict[str, Any]]:
        counts = {"confusion": [[images, 0, 0], [0, 0, 0], [0, 0, 0]]}
        return [make_evaluation("trained", 1.0, **counts), make_evaluation("untrained", 0.5)]

    evaluate(run_dir, rows(29))
    said = "No better than the untrained backbone, as far as 29 images can tell. No sign of collapse."
    assert sentence(read_run_folder(run_dir, say=print)) == said
    evaluate(run_dir, rows(30))
    assert sentence(read_run_folder(run_dir, say=print)).startswith("Better than the untrained backbone.")


def test_a_curve_of_named_pairs_says_so_and_is_not_mixed_with_others(run_dir: Path, make_evaluation: Line) -> None:
    curve = {"false_accept": [0.0, 1.0], "true_accept": [0.0, 1.0]}

    def retrieval(representation: str, **more: Any) -> dict[str, Any]:
        settings = {"roc": curve, "pairs": "lists/faces.txt"}
        return make_evaluation(
            representation, 0, measure="retrieval", figures={"roc_area": 1}, settings=settings, **more
        )

    evaluate(
        run_dir,
        [
            retrieval("trained"),
            retrieval("pixels"),
            retrieval("trained", measured_on="pairs"),
            retrieval("untrained", measured_on="pairs"),
        ],
    )
    results = measured_in(read_run_folder(run_dir, say=print))
    assert [(found.representation, found.measured_on) for found in with_roc(results)] == [
        ("trained", "pairs"),
        ("untrained", "pairs"),
    ]
    shown = roc_html(results)
    assert "Do the two images of a pair belong together, by the list lists/faces.txt?" in shown
    assert "on the named pairs of images of digits." in shown
    assert captions(run_dir)[1] == "On the named pairs of images of digits"


def test_each_part_of_the_page_names_its_images(photo_run: Path, make_evaluation: Line, sample: Any) -> None:
    rows = [json.loads(line) for line in (photo_run / "evaluations.jsonl").read_text().splitlines()]
    square = [[8, 1, 1], [0, 9, 1], [3, 0, 7]]
    rows[0] |= {"confusion": square, "per_class": {"cat": 0.8, "dog & wolf": 0.9}}
    evaluate(photo_run, rows)
    path = write_report(photo_run, gallery=sample, say=print)
    assert path is not None
    page = path.read_text()
    parts = {anchor: page.split(f'<section id="{anchor}"')[1].split("</section>")[0] for anchor in NAMED}
    for anchor, words in NAMED.items():
        assert words in parts[anchor]
    assert f"byol-eval checkpoint={photo_run} tsne=true" in parts["map"]


NAMED = {
    "map": "All 60 test images of digits, laid out by the features of the backbone of step 60",
    "neighbors": "Of all 60 test images of digits",
    "confusion": "Linear probe on the test images of image_folder (mine)",
    "classes": "Linear probe on the test images of image_folder (mine)",
}
