"""Recorders outside the run folder, each a service that a run goes on without where it fails."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import plain
from byol_cli.training.files import write_whole
from byol_cli.training.ranks import is_first

IDS = "recorders.json"
_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}


class OutsideRecorder(Protocol):
    """One service's record of one run."""

    @property
    def id(self) -> str:
        """By which the service knows the run, so that a run that goes on goes on there too."""

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """`values` by names such as `train/loss`, after `step` optimiser steps."""

    def finish(self, status: str, figures: Mapping[str, float]) -> None:
        """The run has ended as summary.json says, with these figures."""


class OutsideRecorders:
    """Those of `trainer.recorders`. One that fails is told of once, and nothing more is sent to it."""

    def __init__(self, config: TrainConfig, run_dir: Path, *, say: Callable[[str], None]) -> None:
        """Begin or go on with the run's records; nothing is imported or written where none is asked for."""
        self._say = say
        self._recorders: dict[str, OutsideRecorder] = {}
        ids = _ids_in(run_dir)
        for name in dict.fromkeys(config.trainer.recorders if is_first() else ()):
            with _Contained(self, name):
                module = import_module(f"byol_cli.training.{name}_recorder")
                values = dict(settings_of(plain(config)))
                self._recorders[name] = module.begin(values, run_dir=run_dir, known_id=ids.get(name))
                ids[name] = self._recorders[name].id
                write_whole(run_dir / IDS, json.dumps(ids, indent=2))

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Send the figures of a step."""
        for name, recorder in list(self._recorders.items()):
            with _Contained(self, name):
                recorder.record(step, values)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Send what is in summary.json, and close."""
        figures = {name: value for name, value in settings_of(summary) if isinstance(value, int | float)}
        for name, recorder in list(self._recorders.items()):
            with _Contained(self, name):
                recorder.finish(str(summary["status"]), figures)

    def drop(self, name: str, error: Exception) -> None:
        """Go on without the recorder `name`."""
        self._recorders.pop(name, None)
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        self._say(f"warning: trainer.recorders: {name} fails and gets no more: {reason}")


class _Contained:
    """Whatever a service raises stays in here: its errors are of any kind, and none is worth a run."""

    def __init__(self, recorders: OutsideRecorders, name: str) -> None:
        self._recorders, self._name = recorders, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            self._recorders.drop(self._name, error)
        return isinstance(error, Exception)


def refuse_missing_recorders(names: Sequence[str]) -> None:
    """Raises InputError for a recorder whose package is not installed."""
    for name in names:
        try:
            import_module(_PACKAGES[name])
        except ImportError as error:
            raise InputError(
                f"trainer.recorders={name} needs a package: pip install 'byol-cli[{name}]' ({error})"
            ) from None


def settings_of(values: Mapping[str, Any], *, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings by their dotted names."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        found += settings_of(value, prefix=f"{name}.") if isinstance(value, Mapping) else [(name, value)]
    return found


def _ids_in(run_dir: Path) -> dict[str, str]:
    try:
        ids = json.loads((run_dir / IDS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in ids.items()} if isinstance(ids, dict) else {}
