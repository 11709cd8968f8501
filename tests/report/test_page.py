"""report.html: whole, alone, harmless, small, and never the end of a run."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from byol_cli.report.gallery import Gallery
from byol_cli.report.page import write_report, write_sweep_report


def written(run_dir: Path, **how: Any) -> Path:
    """Where the report is that can be written."""
    path = write_report(run_dir, **how)
    assert path is not None
    return path


class Page(HTMLParser):
    """Collects elements, their attributes and the text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._raw = False
        self.feed(path.read_text(encoding="ascii"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def anchors(page: Page) -> list[str | None]:
    return [attributes["id"] for attributes in page.of("section")]


def test_everything_that_was_asked_for_is_there(run_dir: Path, sample: Gallery) -> None:
    page = Page(written(run_dir, gallery=sample, say=print, facts={"images": "1,294 to train on"}))
    assert anchors(page) == ("results training collapse views map neighbors confusion classes next settings".split())
    for words in (
        "Better than the untrained backbone, but no better than raw pixels. No sign of collapse.",
        "0.978 [0.958, 0.998]",
        f"byol-eval checkpoint={run_dir}",
        "1,294 to train on",
        "a processor",
        "1 image could not be read",
    ):
        assert words in page.text
    for name in ("confusion.png", "classes.png", "embedding.png", "neighbors.png"):
        with Image.open(run_dir / name) as picture:
            assert min(picture.size) > 300


def test_nothing_is_fetched_and_only_the_pages_own_script_may_run(run_dir: Path, sample: Gallery) -> None:
    path = written(run_dir, gallery=sample, say=print, tsne=True)
    page = Page(path)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert set(re.findall(r"url\((.{5})", path.read_text())) == {"data:"}
    (policy,) = [tag["content"] for tag in page.of("meta") if "http-equiv" in tag]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src 'sha256-" in policy
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]


def test_pictures_and_tables_can_be_heard(run_dir: Path, sample: Gallery) -> None:
    page = Page(written(run_dir, gallery=sample, say=print))
    assert all(image["alt"] for image in page.of("img"))
    assert all(attributes.get("aria-label") for attributes in page.of("svg"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table")) > 3
    assert all(attributes["aria-label"] for tag, attributes in page.elements if attributes.get("class") == "thumb")
    assert len(page.of("h1")) == 1


def test_a_hostile_name_makes_no_element(run_dir: Path, sample: Gallery) -> None:
    page = Page(written(run_dir, gallery=sample, say=print))
    assert len(page.of("script")) == 2  # the map's data and the page's own
    assert not [image for image in page.of("img") if image["src"] == "x"]
    assert "<script>window.hacked = 1</script>" in page.text


def test_a_thousand_thumbnails_of_noise_take_less_than_three_megabytes(
    run_dir: Path, make_sample: Callable[..., Gallery]
) -> None:
    path = written(run_dir, gallery=make_sample(1000, size=32, channels=3), say=print)
    assert path.stat().st_size < 3_000_000


def test_a_curve_of_verification_is_saved_too(run_dir: Path, make_evaluation: Callable[..., dict[str, Any]]) -> None:
    curve = {"false_accept": [0.0, 1.0], "true_accept": [0.0, 1.0]}
    line = make_evaluation("trained", 0.5, measure="retrieval", settings={"roc": curve})
    (run_dir / "evaluations.jsonl").write_text(json.dumps(line) + "\n")
    assert "verification" in anchors(Page(written(run_dir, gallery=None, say=print)))
    assert (run_dir / "roc.png").is_file()


def test_a_run_that_stopped_has_neither_map_nor_results(run_dir: Path) -> None:
    (run_dir / "evaluations.jsonl").unlink()
    (run_dir / "summary.json").write_text(json.dumps({"status": "stopped", "steps": 60, "message": "no <b>space</b>"}))
    page = Page(written(run_dir, gallery=None, say=print))
    assert anchors(page) == ["training", "collapse", "views", "next", "settings"]
    assert "This run was stopped by a fault. No sign of collapse." in page.text
    assert "no <b>space</b>" in page.text
    assert f"byol-train resume={run_dir}" in page.text


def test_an_empty_folder_has_a_page_too(tmp_path: Path) -> None:
    page = Page(written(tmp_path, gallery=None, say=print))
    assert "Nothing has been measured yet." in page.text


def test_a_last_evaluation_that_was_cut_off_is_left_out_without_a_word(run_dir: Path) -> None:
    path = run_dir / "evaluations.jsonl"
    path.write_text(path.read_text()[:-40])
    said: list[str] = []
    page = Page(written(run_dir, gallery=None, say=said.append))
    assert said == []
    assert "Better than the untrained backbone." in page.text


def test_damaged_files_are_told_of_and_the_rest_is_shown(run_dir: Path) -> None:
    for name in ("config.yaml", "summary.json"):
        (run_dir / name).write_text("{[")
    path = run_dir / "evaluations.jsonl"
    path.write_text(f"{{]\n{path.read_text()}")
    said: list[str] = []
    page = Page(written(run_dir, gallery=None, say=said.append))
    assert [line.split(":")[0] for line in said] == ["warning"] * 3
    assert "0.978" in page.text


def test_a_report_that_cannot_be_written_is_told_and_ends_nothing(run_dir: Path, sample: Gallery) -> None:
    for name in ("report.html", "embedding.png", "neighbors.png", "confusion.png", "classes.png"):
        (run_dir / name).mkdir()
    said: list[str] = []
    write_report(run_dir, gallery=sample, say=said.append)
    assert len(said) == 5
    assert all("cannot be written" in line for line in said)


def test_a_folder_that_is_none_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    said: list[str] = []
    write_report(tmp_path / "run", gallery=None, say=said.append)
    assert len(said) == 1


def test_without_labels_nothing_speaks_of_classes(
    run_dir: Path, make_sample: Callable[..., Gallery], make_evaluation: Callable[..., dict[str, Any]]
) -> None:
    figures = {"effective_rank": 0.4}
    more = {"measure": "label_free", "measured_on": "train", "figures": figures, "interval": {}, "classes": []}
    (run_dir / "evaluations.jsonl").write_text(json.dumps(make_evaluation("trained", 0.0, **more)) + "\n")
    page = Page(written(run_dir, gallery=make_sample(20, labelled=False), say=print))
    assert "Without labels nothing says how good it is" in page.text
    assert "confusion" not in anchors(page)
    assert "of the same class" not in page.text


def test_a_collapsed_representation_is_shown_as_such(run_dir: Path, make_sample: Callable[..., Gallery]) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        gauges = {"gauges/feature_std": 0.0, "gauges/effective_rank": 0.0, "gauges/mean_cosine": 1.0}
        file.write(json.dumps({"step": 70, **gauges}) + "\n")
    sample = make_sample(20)
    sample.features[:] = torch.ones(12)
    page = Page(written(run_dir, gallery=sample, say=print, tsne=True))
    assert "The representation is collapsing." in page.text
    assert "not healthy; healthy is above 0.1" in page.text


def test_a_sweep_shows_its_jobs_and_links_their_reports(sweep_dir: Path) -> None:
    page = Page(write_sweep_report(sweep_dir, say=print))
    assert "The best of 3 jobs reaches 0.958 on the selection split. 1 did not get done." in page.text
    assert "optimizer.lr=0.3 · optimizer=sgd" in page.text
    assert "Job 2, stopped: the loss is <b>not</b> finite" in page.text
    assert [link["href"] for link in page.of("a")] == ["#sweep", "#failures", "1/report.html"]
    assert (sweep_dir / "sweep.png").is_file()
    assert (sweep_dir / "coordinates.png").is_file()


def test_of_thousands_of_jobs_the_page_shows_some_of_every_rank(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    head = "job,overrides,status,selection_score,linear_top1,knn_top1,few_label_top1,seconds,message"
    rates = rng.uniform(0.01, 1, 5000)
    jobs = [f"a{number},optimizer.lr={rate},done,{1 - number / 9000},,,,1.0," for number, rate in enumerate(rates)]
    jobs += [f"b{number},optimizer.lr=9,failed,,,,,1.0,reason {number}" for number in range(1000)]
    (tmp_path / "sweep.csv").write_text("\n".join([head, *jobs]))
    path = write_sweep_report(tmp_path, say=print)
    assert path.stat().st_size < 400_000
    page, source = Page(path), path.read_text()
    assert "The best of 6,000 jobs reaches 1.000 on the selection split. 1,000 did not get done." in page.text
    assert source.count("<polyline") == 300
    assert "job a0: " in source
    assert "job a4999: " in source
    assert "300 of 5,000 jobs, evenly over all ranks." in page.text
    assert "And 800 more in sweep.csv." in page.text
