"""Failures of outside code (timm, a custom factory, a network that rejects the images) as one line for the user."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from byol_cli.schema.errors import InputError


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turns any exception inside into `InputError("WHAT: ValueError: its first line (file.py:12)")`, chained to it.

    An InputError passes as it is.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{what}: {reason} ({Path(place.filename).name}:{place.lineno})") from error
