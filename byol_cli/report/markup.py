"""Pieces of HTML. A function that takes `html` wants it ready; everything else is text, and is escaped here."""

import base64
import html as escaping
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from byol_cli.report.run_folder import is_number

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def text(value: object) -> str:
    """Any value as text for HTML, in elements and in quoted attributes; what cannot be shown becomes U+FFFD."""
    return escaping.escape(_UNPRINTABLE.sub("\ufffd", str(value)))


def figure_text(value: float | None, *, digits: int = 3) -> str:
    """A figure with `digits` decimals; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def short_number(value: float) -> str:
    """A number for a tick or a reading: 1,200 and 0.0312, but never 1.2e+03."""
    if not math.isfinite(value):
        return str(value)
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        written = f"{mantissa}e{int(exponent)}" if exponent else mantissa
    elif abs(value) >= 1000:
        written = f"{value:,.0f}"
    else:
        written = f"{value:.4g}"
    return written.replace("-", "−")


def plain_value(value: Any) -> str:
    """A setting as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        return f"{value:,}" if isinstance(value, int) else short_number(value)
    if isinstance(value, list):
        return ", ".join(map(plain_value, value))
    return str(value)


def data_uri(data: bytes, *, kind: str) -> str:
    """`data` as the address of a picture inside the page; `kind` such as png."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def json_block(name: str, values: Any) -> str:
    """Data for the page's script, in an element that nothing in `values` can close."""
    written = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" id="{name}">{written.replace("<", chr(92) + "u003c")}</script>'


def section(anchor: str, title: str, html: str, *, lead: str = "") -> str:
    """A part of the page under a heading, with a sentence that says what to see in it."""
    under = f'<p class="lead">{text(lead)}</p>' if lead else ""
    heading = f'<h2 id="{anchor}-title">{text(title)}</h2>'
    return f'<section id="{anchor}" aria-labelledby="{anchor}-title">{heading}{under}{html}</section>'


def table(
    caption: str, head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], *, kind: str = "figures"
) -> str:
    """A table whose rows are a heading and cells, all of them HTML; it scrolls by itself where it is too wide."""
    first, *others = head
    columns = f'<th scope="col">{text(first)}</th>' + "".join(f'<th scope="col">{text(name)}</th>' for name in others)
    body = "".join(
        f'<tr><th scope="row">{title}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for title, cells in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table class="{kind}">'
        f"<caption>{text(caption)}</caption><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def pairs(values: Mapping[str, str]) -> str:
    """Names and their values, as a list of terms."""
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values.items())
    return f'<dl class="pairs">{items}</dl>'


def bar(share: float, *, kind: str = "") -> str:
    """A horizontal bar that is `share`, in [0, 1], full; for the eye alone, the figure stands beside it."""
    width = 100 * min(max(share, 0.0), 1.0)
    return f'<span class="bar {kind}" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'
