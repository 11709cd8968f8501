import pytest
from benchmarks.report import Row, Table, as_json, header, machine, markdown, number, rates, ratios, spread, times
from benchmarks.turns import Contender

OURS = Row(key="", title="ours", values=[30.0, 10.0, 20.0], ours=True)
HALF = Row(key="worker", title="half", values=[60.0, 40.0, 50.0], ours=True)
PEER = Row(key="peer", title="a peer", values=[10.0, 10.0, 4.0])
TABLE = Table(key="views_32", title="views", unit="images/s", rows=[OURS, HALF, PEER], note="A word on it.")


def test_ratios_are_paired_round_by_round() -> None:
    assert ratios(OURS, PEER) == [3.0, 1.0, 5.0]  # the ratio of the medians would be 2
    assert times(ratios(OURS, PEER)) == "3x (1 to 5)"


def test_names_tell_table_contender_and_other() -> None:
    assert list(TABLE.ratios()) == ["views_32_vs_peer", "views_32_worker_vs_peer"]
    digits = Table(
        key="loop", title="", unit="", rows=[OURS, Row(key="bare", title="", values=[1.0] * 3)], suffix="_digits"
    )
    assert list(digits.ratios()) == ["loop_vs_bare_digits"]


def test_a_table_shows_medians_spreads_and_ratios_beside_the_others() -> None:
    assert TABLE.markdown().splitlines() == [
        "| views | images/s | min to max | ours is | half is |",
        "| --- | --- | --- | --- | --- |",
        "| ours | 20 | 10 to 30 |  |  |",
        "| half | 50 | 40 to 60 |  |  |",
        "| a peer | 10 | 4 to 10 | 3x (1 to 5) | 6x (4 to 12.5) |",
        "",
        "A word on it.",
    ]


def test_the_json_has_ratios_at_its_top_and_every_round_below() -> None:
    values = as_json([TABLE], {"cores": 2})
    assert values["views_32_vs_peer"] == 3.0
    assert values["views_32_worker_vs_peer"] == 6.0
    assert values["spread"]["views_32_vs_peer"] == [1.0, 5.0]
    assert values["figures"]["views_32_peer"] == {"unit": "images/s", "median": 10.0, "rounds": [10.0, 10.0, 4.0]}
    assert values["machine"] == {"cores": 2}


def test_rates_are_units_by_seconds() -> None:
    def nothing() -> None: ...

    contenders = [Contender(key=key, title=key, work=nothing, units=units) for key, units in (("a", 64), ("b", 32))]
    first, second = rates(contenders, [[2.0, 1.0], [4.0, 0.5]])
    assert first.values == [32.0, 16.0]
    assert second.values == [32.0, 64.0]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.0123"), (2.415, "2.42"), (99.94, "99.9"), (1234.5, "1,234"), (-0.5, "-0.5")]
)
def test_numbers_have_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == text
    assert spread([value, value]) == f"{text} to {text}"


def test_rows_become_markdown() -> None:
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_header_names_day_hardware_versions_and_precision() -> None:
    facts = machine(["numpy"])
    line = header(facts)
    for name in ("date", "processor", "cores", "threads", "torch", "torchvision", "precision", "numpy"):
        assert str(facts[name]) in line
    assert "\n" not in line
