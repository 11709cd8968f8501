"""report.html as a browser shows it: on a phone and on a desk, light and dark."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byol_cli.report.gallery import Gallery
from byol_cli.report.page import write_report, write_sweep_report

pytestmark = pytest.mark.slow

FIGURES = "svg, img, .thumb, table, .meter, .bar"
HIDDEN = """
return [...document.querySelectorAll(arguments[0])].filter((node) => {
  const box = node.getBoundingClientRect();
  return !node.closest("details:not([open]), .card") && !(box.width > 0 && box.height > 0);
}).map((node) => node.outerHTML.slice(0, 200));
"""
PAGE_BACKGROUND = "return getComputedStyle(document.body).backgroundColor"


def written(run_dir: Path, **how: Any) -> Path:
    """Where the report is that can be written."""
    path = write_report(run_dir, **how)
    assert path is not None
    return path


def show(browser: Any, path: Path, *, width: int, theme: str) -> None:
    browser.get_log("browser")
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(path.as_uri())


def assert_sound(browser: Any, *, width: int) -> None:
    assert browser.get_log("browser") == []
    assert browser.execute_script(HIDDEN, FIGURES) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return document.querySelectorAll('svg').length") > 0


@pytest.mark.parametrize("width", [390, 1440])
def test_a_run_is_shown_whole_without_an_error_or_sideways_scrolling(
    browser: Any, run_dir: Path, sample: Gallery, width: int
) -> None:
    path = written(run_dir, gallery=sample, say=print, tsne=True)
    backgrounds = []
    for theme in ("light", "dark"):
        show(browser, path, width=width, theme=theme)
        assert_sound(browser, width=width)
        backgrounds.append(browser.execute_script(PAGE_BACKGROUND))
    assert sum(map(int, backgrounds[0][4:-1].split(", "))) > 600
    assert sum(map(int, backgrounds[1][4:-1].split(", "))) < 150


@pytest.mark.parametrize("width", [390, 1440])
def test_no_column_of_the_results_is_out_of_sight(
    browser: Any, run_dir: Path, make_evaluation: Callable[..., dict[str, Any]], width: int
) -> None:
    names = ("trained", "untrained", "pixels", "scratch")
    tuned = {"measure": "finetune", "settings": {"fraction": 0.01}, "figures": {"top1": 0.5, "std": 0.02}}
    lines = [make_evaluation(name, 0.5, **more) for name in names for more in ({}, tuned)]
    (run_dir / "evaluations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    show(browser, written(run_dir, gallery=None, say=print), width=width, theme="light")
    hidden = (
        "return [...document.querySelectorAll('#results > .scroll')].map((box) => box.scrollWidth - box.clientWidth)"
    )
    assert browser.execute_script(hidden) == [0]
    assert browser.execute_script("return document.querySelectorAll('#results > .scroll thead th').length") == 5


@pytest.mark.parametrize("width", [390, 1440])
def test_a_sweep_is_shown_whole(browser: Any, sweep_dir: Path, width: int) -> None:
    path = write_sweep_report(sweep_dir, say=print)
    show(browser, path, width=width, theme="light")
    assert_sound(browser, width=width)


def test_names_of_classes_and_files_do_nothing_but_stand_there(browser: Any, run_dir: Path, sample: Gallery) -> None:
    path = written(run_dir, gallery=sample, say=print)
    show(browser, path, width=1440, theme="light")
    browser.execute_script(
        "for (const key of ['ArrowRight', 'ArrowRight', 'ArrowRight']) document.querySelector('[data-plot] svg')"
        ".dispatchEvent(new KeyboardEvent('keydown', { key }))"
    )
    shown = browser.execute_script("return document.querySelector('.card').textContent")
    assert "<script>window.hacked = 1</script>" in shown
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert browser.get_log("browser") == []


def test_pointing_at_a_curve_reads_its_value(browser: Any, run_dir: Path) -> None:
    path = written(run_dir, gallery=None, say=print)
    show(browser, path, width=1440, theme="light")
    read = """
    const svg = document.querySelector(".chart svg"), box = svg.getBoundingClientRect();
    const at = (share) => svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + share * box.width }));
    const texts = [document.querySelector(".chart output").textContent];
    for (const share of [0, 1]) { at(share); texts.push(document.querySelector(".chart output").textContent); }
    return texts;
    """
    assert browser.execute_script(read) == ["1.205", "step 10: 3.275", "step 60: 1.205"]


def test_pointing_at_the_map_shows_the_image_and_a_class_can_be_singled_out(
    browser: Any, run_dir: Path, sample: Gallery
) -> None:
    path = written(run_dir, gallery=sample, say=print, tsne=True)
    show(browser, path, width=1440, theme="light")
    point = """
    const svg = document.querySelector("[data-plot] svg"), box = svg.getBoundingClientRect();
    const dot = svg.querySelectorAll("circle")[7].getBoundingClientRect();
    const where = { clientX: dot.left + dot.width / 2, clientY: dot.top + dot.height / 2 };
    svg.dispatchEvent(new PointerEvent("pointermove", where));
    const card = document.querySelector(".card"), thumb = card.querySelector(".thumb").getBoundingClientRect();
    return [card.hidden, card.querySelector("span").textContent.split(" ")[0], thumb.width > 100,
            card.querySelectorAll(".strip .thumb").length];
    """
    assert browser.execute_script(point) == [False, "photos/7", True, 5]
    browser.execute_script("document.querySelector('[data-class=\"1\"]').click()")
    assert browser.execute_script("return document.querySelectorAll('.map .faint').length") == 40
    place = "return document.querySelector('[data-plot] circle').getAttribute('cx')"
    before = browser.execute_script(place)
    browser.execute_script("document.querySelector('[data-map=tsne]').click()")
    assert browser.execute_script(place) != before
    assert browser.get_log("browser") == []
