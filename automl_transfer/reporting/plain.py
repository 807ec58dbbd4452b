"""Names and reasons made safe for a terminal: nothing in them is markup or a control sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from automl_transfer.printable import UNSAFE

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def plain(text: str, limit: int = 300) -> str:
    """One line without control characters and without marks that turn the direction of text."""
    flat = " ".join(text.split())
    safe = UNSAFE.sub(REPLACEMENT, flat)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def labels(texts: Sequence[str], limit: int) -> list[str]:
    """The texts as `plain` shows them, no two alike: on an axis, what has one label is one line.

    Those that begin alike lose their middle, and what is alike all the same is counted.

    >>> labels(["network-of-2023-small", "network-of-2023-large", "network"], 15)
    ['networ...-small', 'networ...-large', 'network']
    """
    shown = [plain(text, limit) for text in texts]
    often = Counter(shown)
    found: dict[str, None] = {}
    for text, begun in zip(texts, shown, strict=True):
        label = alone = begun if often[begun] == 1 else _without_middle(text, limit)
        number = 1
        while label in found:
            number += 1
            label = f"{alone} ({number})"
        found[label] = None
    return list(found)


def _without_middle(text: str, limit: int) -> str:
    whole, end = plain(text, len(text)), (limit - 3) // 2
    return whole if len(whole) <= limit else f"{whole[: limit - 3 - end]}...{whole[-end:]}"


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
