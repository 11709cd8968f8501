"""The form of a checkpoint: which values are in it and of what types, as a table."""

import math
import re
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch

from byol_cli.schema.errors import InputError
from byol_cli.training.claims import TensorClaim

_DEEPEST = 32
_LONGEST_TEXT = 10_000
_MOST_CHANNELS = 64
_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}

Check = Callable[[str, Any], None]
"""Given a value and its name in the checkpoint, raises InputError where it is of another form."""


def check_form(skeleton: Any) -> None:
    """Hold what a checkpoint claims against FORM; further entries must be plain, those of a later version are.

    Raises:
        InputError: an entry is missing or of another form.
    """
    if not isinstance(skeleton, dict) or not skeleton.keys() >= KEYS:
        held = skeleton if isinstance(skeleton, dict) else {}
        missing = ", ".join(sorted(KEYS - held.keys()))
        raise InputError(f"it is not a checkpoint of byol-train, as it lacks {missing}")
    for name, value in skeleton.items():
        text("top level", name)
        FORM.get(name, plain)(name, value)
    normalization = skeleton["normalization"]
    _hold(all(len(values) == skeleton["channels"] for values in normalization.values()), "normalization")
    groups = skeleton["optimizer"]["param_groups"]
    numbers = list(chain.from_iterable(group["params"] for group in groups))
    _hold(numbers == list(range(len(numbers))), "optimizer.param_groups")
    _hold(all(number in range(len(numbers)) for number in skeleton["optimizer"]["state"]), "optimizer.state")


def plain(name: str, value: Any, depth: int = 0) -> None:
    """Nested dicts and lists of text, finite or infinite numbers, true, false and null."""
    _hold(depth <= _DEEPEST, name)
    if isinstance(value, dict):
        for key, item in value.items():
            text(name, key)
            plain(name, item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            plain(name, item, depth + 1)
    elif isinstance(value, str):
        text(name, value)
    else:
        _hold(value is None or isinstance(value, (bool, int, float)), name)


def text(name: str, value: Any) -> None:
    """Not longer than any name or path."""
    _hold(isinstance(value, str) and len(value) <= _LONGEST_TEXT, name)


def count(name: str, value: Any) -> None:
    """A whole number from 0 on."""
    _hold(type(value) is int and value >= 0, name)


def number(name: str, value: Any) -> None:
    """A number, finite or not."""
    _hold(type(value) in (int, float), name)


def number_or_null(name: str, value: Any) -> None:
    """A number, or null for a figure that there is none of."""
    _hold(value is None or type(value) in (int, float), name)


def finite(name: str, value: Any) -> None:
    """A finite number."""
    _hold(type(value) in (int, float) and math.isfinite(value), name)


def positive(name: str, value: Any) -> None:
    """A finite number above 0."""
    finite(name, value)
    _hold(value > 0, name)


def channels(name: str, value: Any) -> None:
    """How many an image has."""
    _hold(type(value) is int and 1 <= value <= _MOST_CHANNELS, name)


def tensor(name: str, value: Any) -> None:
    """A tensor of any type and shape."""
    _hold(isinstance(value, TensorClaim), name)


def generator(name: str, value: Any) -> None:
    """The state of a random generator, a tensor of bytes."""
    _hold(isinstance(value, TensorClaim) and value.dtype == torch.uint8 and len(value.shape) == 1, name)


def remembered(name: str, value: Any) -> None:
    """What an optimiser keeps for a parameter: a tensor, a number, or null for nothing yet."""
    if not isinstance(value, TensorClaim):
        number_or_null(name, value)


def mapping(keys: type, values: Check) -> Check:
    """A dict with keys of one type and values of one form."""

    def check(name: str, value: Any) -> None:
        _hold(isinstance(value, dict) and all(type(key) is keys for key in value), name)
        for key, item in value.items():
            values(f"{name}.{key}", item)

    return check


def sequence(items: Check) -> Check:
    """A list of items of one form."""

    def check(name: str, value: Any) -> None:
        _hold(isinstance(value, (list, tuple)), name)
        for item in value:
            items(name, item)

    return check


def record(needed: dict[str, Check], *, others: Check | None = None) -> Check:
    """A dict with the entries of `needed`, and where `others` is given, with others of that form."""

    def check(name: str, value: Any) -> None:
        _hold(isinstance(value, dict) and value.keys() >= needed.keys(), name)
        for key, item in value.items():
            entry = needed.get(key, others)
            _hold(entry is not None, f"{name}.{key}")
            if entry is not None:
                entry(f"{name}.{key}", item)

    return check


def scaler(name: str, value: Any) -> None:
    """Of a GradScaler: empty but for fp16."""
    mapping(str, number)(name, value)
    _hold(not value or value.keys() >= _SCALER, name)


FORM: dict[str, Check] = {
    "step": count,
    "epoch": count,
    "online": mapping(str, tensor),
    "target": mapping(str, tensor),
    "optimizer": record(
        {
            "state": mapping(int, mapping(str, remembered)),
            "param_groups": sequence(record({"params": sequence(count)}, others=plain)),
        }
    ),
    "scaler": scaler,
    "rng": record({"cpu": generator}, others=sequence(generator)),  # a state for each device of another kind
    "metrics": mapping(str, number_or_null),
    "data_fingerprint": text,
    "config": plain,
    "normalization": record({"mean": sequence(finite), "std": sequence(positive)}),
    "channels": channels,
    "versions": mapping(str, text),
}
KEYS = frozenset(FORM)


def _hold(right: bool, name: str) -> None:
    if not right:
        raise InputError(f"its {re.sub(r'[^ -~]', '?', name)[:100]} is of another form than byol-train writes")
