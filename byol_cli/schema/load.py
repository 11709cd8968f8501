"""From what Hydra composed to typed, checked, frozen dataclasses.

The YAML files own every value, the dataclasses every name, type and rule. OmegaConf alone lets `lr: nan`,
`flag: 1` and `epochs: "3"` through, so that each value is held against its field's type here.
"""

import dataclasses
import difflib
import re
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from byol_cli.schema.constraints import Range
from byol_cli.schema.errors import InputError

T = TypeVar("T")

_PACKAGE = Path(__file__).resolve().parents[1]
# Inside the package in a wheel, beside it in a checkout or an editable install.
CONFIG_DIR = next(folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir())

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def load(schema: type[T], values: dict[str, Any], options: dict[type, dict[str, type]]) -> T:
    """Build `schema` from plain nested `values`; `options[base][name]` is the dataclass of a group's option.

    Raises:
        InputError: a misspelt, missing, foreign, ill-typed or out-of-range value, by its full dotted name.
    """
    return _Loader(options).build(schema, values, path="")


class _Loader:
    def __init__(self, options: dict[type, dict[str, type]]) -> None:
        self.options = options

    def build(self, schema: type, values: Any, *, path: str) -> Any:
        if not isinstance(values, dict):
            raise InputError(f"{path}={show(values)} must be a group of settings")
        prefix = f"{path}." if path else ""
        siblings = self.options.get(schema, {})
        if siblings:
            schema = self._option(siblings, values, path)
        hints = typing.get_type_hints(schema, include_extras=True)
        for key in values:
            if key not in hints:
                raise InputError(self._unknown(f"{prefix}{key}", str(key), hints, siblings, path))
        for key in hints:
            if key not in values:
                raise InputError(f"{prefix}{key} is missing")
        fields = {key: self.convert(hint, values[key], path=f"{prefix}{key}") for key, hint in hints.items()}
        try:
            return schema(**fields)
        except InputError as error:
            raise InputError(f"{prefix}{error}") from None

    def _option(self, siblings: dict[str, type], values: dict[str, Any], path: str) -> type:
        name = values.get("name")
        if not isinstance(name, str) or name not in siblings:
            raise InputError(f"{path}.name={show(name)} must be one of {', '.join(siblings)}")
        return siblings[name]

    @staticmethod
    def _unknown(full: str, key: str, hints: dict[str, Any], siblings: dict[str, type], path: str) -> str:
        owners = [name for name, owner in siblings.items() if key in typing.get_type_hints(owner)]
        if owners:
            return f"{full} belongs to {' or '.join(f'{path}={name}' for name in owners)}"
        return f"{full}: there is no such setting{nearest(key, hints)}"

    def convert(self, hint: Any, value: Any, *, path: str) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            converted = self.convert(arguments[0], value, path=path)
            limits: Range = arguments[1]
            if converted not in limits:
                raise InputError(f"{path}={show(value)} must be {limits.allowed_in_place_of(converted)}")
            return converted
        if origin in (Union, types.UnionType):
            return self._union(arguments, value, path)
        if origin is Literal:
            if value not in arguments or isinstance(value, bool):
                raise InputError(f"{path}={show(value)} must be one of {', '.join(arguments)}")
            return value
        if origin in (list, tuple):
            return self._sequence(origin, arguments, value, path)
        if dataclasses.is_dataclass(hint):
            return self.build(typing.cast(type, hint), value, path=path)
        return _scalar(hint, value, path)

    def _union(self, arguments: tuple[Any, ...], value: Any, path: str) -> Any:
        if value is None and type(None) in arguments:
            return None
        kinds = [kind for kind in arguments if kind is not type(None)]
        fitting = [kind for kind in kinds if (get_origin(kind) is list) == isinstance(value, list)]
        return self.convert((fitting or kinds)[0], value, path=path)

    def _sequence(self, origin: type, arguments: tuple[Any, ...], value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise InputError(f"{path}={show(value)} must be a list such as [a,b]")
        if origin is list:
            return [self.convert(arguments[0], item, path=f"{path}[{i}]") for i, item in enumerate(value)]
        if len(value) != len(arguments):
            raise InputError(f"{path}={show(value)} must have {len(arguments)} values")
        pairs = enumerate(zip(arguments, value, strict=True))
        return tuple(self.convert(kind, item, path=f"{path}[{i}]") for i, (kind, item) in pairs)


def _scalar(kind: type, value: Any, path: str) -> Any:
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{path}={show(value)} must be {_KINDS[kind]}")
    return value


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """`; did you mean X?` for the known word closest to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def show(value: Any) -> str:
    """A value as it would be typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(show(item) for item in value)}]"
    return str(value)


def quoted(value: object) -> str:
    """`value` as Hydra's override grammar takes it whatever is in it: backslashes count before quotes alone."""
    text = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), str(value))
    return f'"{text}"'


def option_fields(option: Any, *, without: typing.Collection[str] = ()) -> dict[str, Any]:
    """An option's fields by name, as keyword arguments for the code it configures."""
    names = [field.name for field in dataclasses.fields(option) if field.name not in without]
    return {name: getattr(option, name) for name in names}


def plain(config: Any) -> dict[str, Any]:
    """A loaded configuration as nested dicts and lists, the form that `load` takes."""
    return {name: _plain(value) for name, value in option_fields(config).items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return plain(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
