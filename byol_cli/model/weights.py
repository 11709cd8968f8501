"""`backbone.weights=FILE`: start a backbone from weights in a file, strictly and without running code from it."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from byol_cli.model.backbones import Backbone
from byol_cli.schema.errors import InputError

CLASSIFIER_PREFIXES = ("fc.", "classifier.", "head.")
CHECKPOINT_PREFIX = "backbone.network."


def load_backbone_weights(backbone: Backbone, path: Path) -> None:
    """Copies the weights of a .safetensors or torch file into `backbone.network`.

    A torch file holds a state dict, a dict with one under "state_dict" or "model", or is a checkpoint of byol-train.
    The classifier that the backbone lacks is ignored; every other name and shape must agree.
    Raises InputError where the file cannot be read or does not fit.
    """
    setting = f"backbone.weights={path}"
    expected = backbone.network.state_dict()
    entries = {
        name: tensor
        for name, tensor in _state_dict(_content(path, setting), setting).items()
        if name in expected or not name.startswith(CLASSIFIER_PREFIXES)
    }
    differences = _differences(expected, entries)
    if differences:
        raise InputError(f"{setting} does not fit {backbone.setting}: {'; '.join(differences)}")
    backbone.network.load_state_dict(entries)


def _content(path: Path, setting: str) -> Any:
    if not path.is_file():
        raise InputError(f"{setting}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{setting} is not a file of tensors and plain values; others could run code") from error
    except Exception as error:  # a damaged file fails in many ways
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{setting} cannot be read: {reason}") from error


def _state_dict(content: Any, setting: str) -> dict[str, Tensor]:
    if isinstance(content, dict) and isinstance(content.get("online"), dict):
        of_backbone = [name for name in content["online"] if name.startswith(CHECKPOINT_PREFIX)]
        content = {name.removeprefix(CHECKPOINT_PREFIX): content["online"][name] for name in of_backbone}
    elif isinstance(content, dict):
        nested = [content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)]
        content = nested[0] if nested else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{setting} holds no state dict: a dict of tensors, alone or under state_dict or model")
    return content


def _differences(expected: dict[str, Tensor], entries: dict[str, Tensor]) -> list[str]:
    # PyTorch fills in BatchNorm's counter, which files older than 2018 lack.
    missing = [name for name in expected if name not in entries and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in entries if name not in expected]
    different = [
        f"{name} {_shape(entries[name])} against {_shape(tensor)}"
        for name, tensor in expected.items()
        if name in entries and entries[name].shape != tensor.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "different shape": different}
    return [f"{kind} {_some(names)}" for kind, names in kinds.items() if names]


def _some(names: list[str]) -> str:
    more = f" (+{len(names) - 3} more)" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _shape(tensor: Tensor) -> str:
    return f"({','.join(map(str, tensor.shape))})"
