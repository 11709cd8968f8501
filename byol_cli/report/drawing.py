"""Names as matplotlib may write them."""

_LONGEST = 18  # characters, so that names leave room for the picture


def label(name: str) -> str:
    """A name of any length and any signs as a short label: neither mathematics, nor hidden for its first sign."""
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    return " ".join(short.split()).lstrip("_").replace("$", r"\$")
