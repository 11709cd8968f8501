"""From the words on the command line to a checked configuration, or one line that says what is wrong with them."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from byol_cli.schema.command import OPTIONS
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import CONFIG_DIR, load, nearest, quoted

T = TypeVar("T")

GROUPS = frozenset(path.name for path in CONFIG_DIR.iterdir() if path.is_dir())
SEVERAL = frozenset({"evaluation"})  # groups that take a list of options
EXTRAS = {  # of byol-cli, by the options of Hydra that they bring
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/sweeper/optuna": "optuna",
}
QUOTING = "put a value that holds = , or a bracket in quotes, such as 'dataset.root=\"a=b\"'"


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's own flags, and the overrides; raises InputError for a flag that is not known."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message}; --help shows what can be typed")

    parser.error = refuse  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args(list(argv))
    for flag in ("config_path", "experimental_rerun"):
        if getattr(arguments, flag):
            raise InputError(f"--{flag.replace('_', '-')} is not supported here; --config-dir adds a folder of configs")
    return arguments


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Hydra's reading of `key=value` words; raises InputError for one that cannot be read."""
    parsed = []
    for word in words:
        try:
            parsed += OverridesParser.create().parse_overrides([word])
        except (OverrideParseException, ValueError):  # ValueError: a number of thousands of digits
            raise InputError(f"{word[:200]}: cannot be read as setting=value; {QUOTING}") from None
    return parsed


def compose_config(config_name: str, words: Sequence[str], *, config_dir: str | None = None) -> DictConfig:
    """Let Hydra compose `config_name` with the overrides `words`; Hydra's own node is in it too.

    A setting that does not exist is added rather than refused, so that `load_config` can name the nearest right one.

    Raises:
        InputError: what Hydra or OmegaConf refuses.
    """
    parsed = parse_overrides(words)
    for override in parsed:
        _check_choice(override)
    overrides = [_lenient(override) for override in parsed]
    search = [f"hydra.searchpath=[file://{config_dir}]"] if config_dir else []
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            composed = compose(config_name, overrides=[*search, *overrides], return_hydra_config=True)
    except MissingConfigException as error:
        raise InputError(_missing_option(error)) from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: such as hydra=1, ~group=[]
        raise InputError(one_line(error)) from None
    for override in parsed:
        _check_chosen(override, composed)
    return composed


def load_config(schema: type[T], composed: DictConfig) -> T:
    """Check what was composed against `schema`; raises InputError."""
    values = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        plain: Any = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} has no value; give {error.full_key}=VALUE") from None
    except OmegaConfBaseException as error:
        raise InputError(one_line(error)) from None
    return load(schema, plain, OPTIONS)


def literally(value: object) -> str:
    """`quoted`, for a setting in which OmegaConf would resolve `${...}`."""
    return quoted(str(value).replace("${", "\\${"))


def one_line(error: Exception) -> str:
    """The first sentences of a message that comes in several lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=")))


def _lenient(override: Override) -> str:
    key = override.key_or_group
    is_value = override.type is not None and override.type.name == "CHANGE" and key.split("@")[0] not in GROUPS
    word = override.input_line or ""
    return f"++{word}" if is_value and not key.startswith("hydra") else word


def _check_choice(override: Override) -> None:
    group = override.key_or_group
    if group not in GROUPS or override.is_delete() or override.is_sweep_override():
        return
    value = override.value()
    names = value if isinstance(value, list) and group in SEVERAL else [value]
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{override.input_line} must be one of {', '.join(_options(group))}")


def _check_chosen(override: Override, composed: DictConfig) -> None:
    """Refuse a setting of an option that is not in the list of its group; raises InputError."""
    group, *names = override.key_or_group.split(".")
    if group not in SEVERAL or len(names) < 2 or names[0] not in _options(group):
        return
    option = names[0]
    whole: Any = OmegaConf.load(CONFIG_DIR / group / f"{option}.yaml")
    if composed[group][option] is not None and whole[option].keys() - composed[group][option].keys():
        chosen = [name for name, settings in composed[group].items() if settings is not None and name != option]
        raise InputError(
            f"{override.input_line}: {option} is not among what is measured; "
            f"{group}=[{','.join([*chosen, option])}] adds it"
        )


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def _missing_option(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    group, _, option = missing.rpartition("/")
    if missing in EXTRAS:
        return f"{group}={option} needs a package: pip install 'byol-cli[{EXTRAS[missing]}]'"
    known = _options(group) if group in GROUPS else error.options or []
    if not known:
        return one_line(error)
    return f"{group}={option} must be one of {', '.join(known)}{nearest(option, known)}"
