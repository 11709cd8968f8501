"""The configuration that a run left in its folder and its checkpoints, by this version or an earlier one."""

from typing import Any

from byol_cli.schema.command import OPTIONS, TrainConfig
from byol_cli.schema.load import load

# Settings that there were not from the start, each with the value under which all is as it was without it.
LATER_SETTINGS: dict[str, Any] = {
    "trainer.stop_early": "none",
    "trainer.stop_early_after": 0.3,
    "trainer.stop_early_runs": 4,
    "trainer.recorders": [],
    "trainer.plan": False,
    "trainer.price_per_hour": None,
    "trainer.sync_batchnorm": True,
    "trainer.gradient_compression": "none",
    "trainer.compare_ranks_every_steps": 500,
    "evaluation.linear.mode": "cached",
    "evaluation.logistic": None,
    "evaluation.few_label.fractions": [],
    "evaluation.finetune": None,
    "evaluation.supervised": None,
    "evaluation.retrieval": None,
    "evaluation.retrieval.among": "test",
}

# Settings that there are no more.
FORMER_SETTINGS = ("evaluation.few_label.seed",)  # labels are drawn by the command's seed


def load_stored(values: Any) -> TrainConfig:
    """Build the configuration from the plain nested `values` of a run.

    Raises:
        InputError: it is not a configuration of byol-train, or that of a version to come.
    """
    for name, value in LATER_SETTINGS.items():
        values = _with(values, name.split("."), value)
    for name in FORMER_SETTINGS:
        values = _without(values, name.split("."))
    return load(TrainConfig, values, OPTIONS)


def _with(values: Any, names: list[str], value: Any) -> Any:
    """`values` with the setting, where it lacks it and has the groups that it is in."""
    if not isinstance(values, dict):
        return values
    first, *rest = names
    if not rest:
        return {first: value, **values}
    return {**values, first: _with(values[first], rest, value)} if first in values else values


def _without(values: Any, names: list[str]) -> Any:
    """`values` less the setting, where it has it."""
    if not isinstance(values, dict) or names[0] not in values:
        return values
    first, *rest = names
    if not rest:
        return {name: value for name, value in values.items() if name != first}
    return {**values, first: _without(values[first], rest)}
