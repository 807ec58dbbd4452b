"""Names and reasons made safe for a terminal: nothing in them is markup or a control sequence."""

from __future__ import annotations

from rich.text import Text

from automl_transfer.printable import UNSAFE

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def plain(text: str, limit: int = 300) -> str:
    """One line without control characters and without marks that turn the direction of text."""
    flat = " ".join(text.split())
    safe = UNSAFE.sub(REPLACEMENT, flat)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def cell(text: str, style: str = "") -> Text:
    """Text for rich in which brackets stay brackets."""
    return Text(plain(text), style=style, overflow="fold")


def seconds(value: float) -> str:
    """A duration for people.

    >>> [seconds(value) for value in (0.31, 42.0, 312.0, 9000.0)]
    ['0.3 s', '42 s', '5.2 min', '2.5 h']
    """
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.1f} min"
    return f"{value / 3600:.1f} h"


def count(value: int) -> str:
    """A number of parameters for people.

    >>> [count(value) for value in (950, 3_400_000)]
    ['950', '3.4 M']
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return str(value)
