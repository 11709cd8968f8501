"""The loader takes what fits and refuses everything else by its full name."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_cli.schema.constraints import Count, Positive, Probability, Range
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import load, plain, show


@dataclass(frozen=True, kw_only=True)
class Engine:
    name: str


@dataclass(frozen=True, kw_only=True)
class Steam(Engine):
    pressure: Positive


@dataclass(frozen=True, kw_only=True)
class Electric(Engine):
    volts: Count
    poles: list[Count]


@dataclass(frozen=True, kw_only=True)
class Train:
    engine: Engine
    wagons: Annotated[int, Range(low=0, cap=20)]
    colour: Literal["red", "green"]
    share: Probability
    lights: bool
    stops: str | list[str] | None
    gauge: tuple[float, float]

    def __post_init__(self) -> None:
        if self.wagons > 9 and not self.lights:
            raise InputError("lights=false needs wagons of 9 at most")


OPTIONS: dict[type, dict[str, type]] = {Engine: {"steam": Steam, "electric": Electric}}
GOOD: dict[str, Any] = {
    "engine": {"name": "steam", "pressure": 3.5},
    "wagons": 4,
    "colour": "red",
    "share": 1,
    "lights": True,
    "stops": ["a", "b"],
    "gauge": [1.0, 2],
}


def changed(path: str | int, value: object) -> dict[str, Any]:
    values = {**GOOD, "engine": dict(GOOD["engine"])}
    group, _, name = str(path).rpartition(".")
    (values[group] if group else values)[name if isinstance(path, str) else path] = value
    return values


def test_good_values_become_typed_fields() -> None:
    train = load(Train, GOOD, OPTIONS)
    assert isinstance(train.engine, Steam)
    assert train.engine.pressure == 3.5
    assert isinstance(train.share, float)
    assert train.gauge == (1.0, 2.0)


def test_what_was_loaded_loads_again_from_plain_values() -> None:
    train = load(Train, GOOD, OPTIONS)
    assert load(Train, plain(train), OPTIONS) == train


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("wagons", "4", "wagons=4 must be a whole number"),
        ("wagons", 4.0, "wagons=4.0 must be a whole number"),
        ("wagons", True, "wagons=true must be a whole number"),
        ("wagons", None, "wagons=null must be a whole number"),
        ("lights", 1, "lights=1 must be true or false"),
        ("share", math.nan, "share=nan must be in [0, 1]"),
        ("share", 1.5, "share=1.5 must be in [0, 1]"),
        ("share", True, "share=true must be a number"),
        ("colour", "blue", "colour=blue must be one of red, green"),
        ("gauge", [1.0], "gauge=[1.0] must have 2 values"),
        ("gauge", 1.0, "gauge=1.0 must be a list such as [a,b]"),
        ("gauge", [1.0, "x"], "gauge[1]=x must be a number"),
        ("stops", ["a", 2], "stops[1]=2 must be text"),
        ("stops", 7, "stops=7 must be text"),
        ("engine", "steam", "engine=steam must be a group of settings"),
        ("engine.pressure", 0, "engine.pressure=0 must be above 0"),
        ("engine.pressure", math.inf, "engine.pressure=inf must be above 0"),
        ("engine.name", "diesel", "engine.name=diesel must be one of steam, electric"),
        ("engine.name", ["steam"], "engine.name=[steam] must be one of steam, electric"),
        ("engine.name", None, "engine.name=null must be one of steam, electric"),
        ("engine.volts", 5, "engine.volts belongs to engine=electric"),
        ("engine.presure", 5, "engine.presure: there is no such setting; did you mean pressure?"),
        ("zzz", 5, "zzz: there is no such setting"),
        (7, 5, "7: there is no such setting"),
        ("engine.pressure", 10**400, f"engine.pressure={10**400} must be a number"),
        ("wagons", 21, "wagons=21 must be at most 20"),
        ("wagons", -1, "wagons=-1 must be at least 0"),
        ("wagons", 10**400, f"wagons={10**400} must be at most 20"),
    ],
)
def test_a_value_that_does_not_fit_is_named(path: str | int, value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(Train, changed(path, value), OPTIONS)
    assert str(caught.value) == message


def test_a_missing_value_is_named() -> None:
    values = changed("engine.pressure", 1)
    del values["engine"]["pressure"]
    with pytest.raises(InputError, match=r"^engine\.pressure is missing$"):
        load(Train, values, OPTIONS)


def test_a_rule_over_two_fields_is_checked() -> None:
    with pytest.raises(InputError, match="^lights=false needs wagons of 9 at most$"):
        load(Train, {**GOOD, "wagons": 10, "lights": False}, OPTIONS)


@given(
    low=st.floats(-100, 100),
    high=st.floats(-100, 100),
    low_open=st.booleans(),
    high_open=st.booleans(),
    value=st.floats() | st.sampled_from([-100.0, 0.0, 100.0]),
)
def test_a_range_holds_what_lies_between_its_ends(
    low: float, high: float, low_open: bool, high_open: bool, value: float
) -> None:
    inside = (low < value or (low == value and not low_open)) and (value < high or (value == high and not high_open))
    assert (value in Range(low=low, high=high, low_open=low_open, high_open=high_open)) == inside


@given(cap=st.integers(0, 100), value=st.integers(-10, 200) | st.floats() | st.just(10**400))
def test_a_cap_is_named_only_where_it_is_passed(cap: int, value: float) -> None:
    capped = Range(low=1, cap=cap)
    assert (value in capped) == (1 <= value <= cap)
    assert (capped.allowed_in_place_of(value) == f"at most {cap}") == (cap < value < math.inf)
    assert capped.allowed_in_place_of(0 if cap else -1) == "at least 1"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_range_holds_what_is_not_finite(value: float) -> None:
    assert value not in Range()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_value_can_be_shown_in_a_message(value: object) -> None:
    assert isinstance(show(value), str)


def test_annotated_ranges_are_described_in_words() -> None:
    texts = {
        str(Range(low=0)),
        str(Range(low=0, low_open=True)),
        str(Range()),
        str(Range(low=0, high=1, low_open=True)),
    }
    assert texts == {"at least 0", "above 0", "a finite number", "in (0, 1]"}
