"""Failures of outside code as one line."""

import pytest

from byol_cli.model.refusal import refusing
from byol_cli.schema.errors import InputError


def test_a_failure_becomes_one_line_with_its_place_and_keeps_its_cause() -> None:
    with (
        pytest.raises(InputError, match=r"^reading failed: ValueError: first \(test_refusal.py:\d+\)$") as refusal,
        refusing("reading failed"),
    ):
        raise ValueError("first\nsecond")
    assert isinstance(refusal.value.__cause__, ValueError)


def test_an_input_error_passes_as_it_is() -> None:
    with pytest.raises(InputError, match=r"^size=3$"), refusing("reading failed"):
        raise InputError("size=3")
