"""Self-supervised image pre-training by BYOL (Bootstrap Your Own Latent, Grill et al. 2020)."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`byol_cli.load_backbone`, imported when it is asked for: torch comes with it."""
    if name == "load_backbone":
        return import_module("byol_cli.export.notebook").load_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
