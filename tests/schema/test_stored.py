"""Runs that an earlier version left behind can be read: a new setting has a value under which all is as it was."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import plain
from byol_cli.schema.stored import FORMER_SETTINGS, LATER_SETTINGS, load_stored

MEASURED = ["evaluation=[linear,knn,few_label]"]  # by the demo from the start


@pytest.fixture
def earliest() -> dict[str, Any]:
    """The demo's config.yaml before any later setting."""
    return dict(yaml.safe_load(Path(__file__).with_name("earliest_config.yaml").read_text()))


def settings(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_every_setting_of_today_was_there_from_the_start_or_is_a_later_one(earliest: dict[str, Any]) -> None:
    today = dict(settings(plain(load_config(TrainConfig, compose_config("train", MEASURED)))))
    later = {name for name in LATER_SETTINGS if not name.startswith("evaluation.retrieval.")}  # not chosen here
    assert today.keys() - dict(settings(earliest)).keys() == later
    assert dict(settings(earliest)).keys() - today.keys() == set(FORMER_SETTINGS)


def test_the_earliest_configuration_is_read_with_its_own_values(earliest: dict[str, Any]) -> None:
    earliest["seed"] = 5
    read = dict(settings(plain(load_stored(earliest))))
    later = {name: value for name, value in LATER_SETTINGS.items() if not name.startswith("evaluation.retrieval.")}
    assert read == {
        **{name: value for name, value in settings(earliest) if name not in FORMER_SETTINGS},
        **later,
    }


def test_a_search_from_before_it_could_take_all_images_is_among_the_test_images(earliest: dict[str, Any]) -> None:
    earliest["evaluation"]["retrieval"] = {"k": [1], "pairs": None, "num_pairs": 100, "false_accept_rates": [0.1]}
    retrieval = load_stored(earliest).evaluation.retrieval
    assert retrieval is not None
    assert retrieval.among == "test"


def test_a_setting_that_there_is_no_more_is_passed_over_with_its_value(earliest: dict[str, Any]) -> None:
    earliest["evaluation"]["few_label"]["seed"] = 7
    assert "evaluation.few_label.seed" not in dict(settings(plain(load_stored(earliest))))
    del earliest["evaluation"]["few_label"]["seed"]
    load_stored(earliest)


def test_a_later_setting_that_is_there_stays(earliest: dict[str, Any]) -> None:
    earliest["evaluation"]["linear"]["mode"] = "augmented"
    linear = load_stored(earliest).evaluation.linear
    assert linear is not None
    assert linear.mode == "augmented"


def test_a_measurement_that_was_not_chosen_stays_so(earliest: dict[str, Any]) -> None:
    earliest["evaluation"]["linear"] = None
    assert load_stored(earliest).evaluation.linear is None


@pytest.mark.parametrize("values", [None, [], {}, {"evaluation": 3}, {"evaluation": {"linear": [1]}}])
def test_what_is_no_configuration_is_refused_all_the_same(values: Any) -> None:
    with pytest.raises(InputError):
        load_stored(values)


def test_a_setting_that_never_was_later_is_missed(earliest: dict[str, Any]) -> None:
    del earliest["trainer"]["epochs"]
    with pytest.raises(InputError, match=r"trainer\.epochs is missing"):
        load_stored(earliest)


def test_a_setting_of_a_version_to_come_is_named(earliest: dict[str, Any]) -> None:
    earliest["trainer"]["warp_speed"] = True
    with pytest.raises(InputError, match=r"trainer\.warp_speed: there is no such setting"):
        load_stored(earliest)
