"""Packages that only some outputs need."""

from importlib.util import find_spec

from byol_cli.schema.errors import InputError


def require(*packages: str, extra: str, setting: str) -> None:
    """Raises InputError where one of `packages` is not installed; `setting` is what needs it."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(f"{setting} needs {' and '.join(missing)}: pip install 'byol-cli[{extra}]'")
