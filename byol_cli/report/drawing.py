"""Names as matplotlib may write them."""

import textwrap

_LONGEST = 18  # characters, so that names leave room for the picture
_LINE, _LINES = 64, 3  # characters of a title, at most so many times


def label(name: str) -> str:
    """A name of any length and any signs as a short label: neither mathematics, nor hidden for its first sign."""
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    return " ".join(short.split()).lstrip("_").replace("$", r"\$")


def title(words: str) -> str:
    """Words of any length as a title of a few lines, as they are."""
    lines = textwrap.wrap(words, _LINE, max_lines=_LINES, placeholder=" …")
    return "\n".join(lines).replace("$", r"\$")
