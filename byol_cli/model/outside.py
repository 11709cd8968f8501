"""Backbones from outside this package: timm's models, and the user's own by `backbone.factory`."""

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from typing import Any

from torch import nn

from byol_cli.model.refusal import refusing
from byol_cli.schema.errors import InputError


def timm_network(*, in_channels: int, image_size: int, model: str) -> nn.Module:
    """timm's `model` without its classifier, randomly initialised; only a plain name, so nothing is ever downloaded.

    Raises InputError where timm is missing, has no such model, or cannot build it for images of this size.
    """
    if importlib.util.find_spec("timm") is None:
        raise InputError("backbone=timm needs the timm package: pip install 'byol-cli[timm]'")
    import timm

    names = timm.list_models()
    if model not in names:
        close = difflib.get_close_matches(model, names, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() in Python lists them"
        raise InputError(f"backbone.model={model} is not a model of timm: {hint}")
    # timm's own mark of the models that take `img_size` (ViTs, Swin, mixers); the others reject the argument.
    fixed_size = timm.get_pretrained_cfg_value(model, "fixed_input_size")
    size: dict[str, Any] = {"img_size": image_size} if fixed_size else {}
    with refusing(f"backbone.model={model} cannot be built for images of {image_size} px"):
        return timm.create_model(model, pretrained=False, num_classes=0, in_chans=in_channels, **size)


def custom_network(*, in_channels: int, image_size: int, factory: str) -> nn.Module:
    """What `factory`, "package.module:function", returns; the current folder is importable too.

    It is called with `in_channels=in_channels` where it has such a parameter, else with nothing.
    Raises InputError where it cannot be imported, fails, or returns something else than an nn.Module.
    """
    setting = f"backbone.factory={factory}"
    function = _imported(factory)
    if isinstance(function, nn.Module):
        raise InputError(f"{setting} is a module that exists already: name a function that returns a new one")
    if not callable(function):
        raise InputError(f"{setting} is a {type(function).__name__}, not a function that returns an nn.Module")
    with refusing(f"{setting} failed"):
        takes_channels = "in_channels" in inspect.signature(function).parameters
        network = function(in_channels=in_channels) if takes_channels else function()
    if not isinstance(network, nn.Module):
        raise InputError(f"{setting} returned a {type(network).__name__}, not an nn.Module")
    return network


def _imported(factory: str) -> object:
    module_name, colon, function_name = factory.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module_name.split("."), function_name]):
        raise InputError(f"backbone.factory={factory} must have the form package.module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with refusing(f"backbone.factory={factory}: importing {module_name} failed"):
        module = importlib.import_module(module_name)
    if not hasattr(module, function_name):
        raise InputError(f"backbone.factory={factory}: {module_name} ({module.__file__}) has no {function_name}")
    return getattr(module, function_name)
