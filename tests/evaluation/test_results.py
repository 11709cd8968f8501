import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byol_cli.evaluation.results import RESULTS_FILE, Result, append_results
from byol_cli.report.run_folder import json_lines

FACTS: dict[str, Any] = {"time": "2026-01-01T00:00:00+00:00", "dataset": "digits", "classes": ["0", "é"]}


def read_results(path: Path) -> list[dict[str, Any]]:
    """As report.html reads them."""
    return json_lines(path, say=lambda line: None)


def result(top1: float = 0.5, **changes: Any) -> Result:
    values = {
        "measure": "linear",
        "representation": "trained",
        "measured_on": "test",
        "figures": {"top1": top1},
        "settings": {"learning_rates": [0.1, 0.2], "learning_rate": 0.1},
        "interval": {"top1": [0.4, 0.6]},
        "per_class": {"0": 0.5},
        "confusion": [[1, 1], [0, 2]],
    }
    return Result(**{**values, **changes})


def test_a_line_is_the_result_with_the_facts(tmp_path: Path) -> None:
    append_results(tmp_path / RESULTS_FILE, [result(), result(0.7)], facts=FACTS)
    lines = (tmp_path / RESULTS_FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [result().row() | FACTS, result(0.7).row() | FACTS]
    assert read_results(tmp_path / RESULTS_FILE) == [json.loads(line) for line in lines]


def test_what_was_there_stays_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / RESULTS_FILE
    append_results(path, [result(0.1)], facts=FACTS)
    before = path.read_bytes()
    append_results(path, [result(0.2)], facts=FACTS)
    append_results(path, [], facts=FACTS)
    assert path.read_bytes().startswith(before)
    assert [row["figures"]["top1"] for row in read_results(path)] == [0.1, 0.2]


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wherever_the_last_line_was_cut_off_the_others_and_later_ones_are_read(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / RESULTS_FILE
    path.unlink(missing_ok=True)
    append_results(path, [result(0.1), result(0.2)], facts=FACTS)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    cut = data.draw(st.integers(first, len(whole)))
    path.write_bytes(whole[:cut])
    complete = cut >= len(whole) - 1  # all but the line's end
    assert [row["figures"]["top1"] for row in read_results(path)] == [0.1, 0.2][: 1 + complete]
    append_results(path, [result(0.3)], facts=FACTS)
    assert [row["figures"]["top1"] for row in read_results(path)] == [*[0.1, 0.2][: 1 + complete], 0.3]


def test_no_file_holds_no_results(tmp_path: Path) -> None:
    assert read_results(tmp_path / RESULTS_FILE) == []


def test_figures_that_are_no_json_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_results(tmp_path / RESULTS_FILE, [result(), result(float("nan"))], facts=FACTS)
    assert not (tmp_path / RESULTS_FILE).exists()
