"""Which words name a split: one vocabulary for folders, tables and arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from automl_transfer.domain.task import Split

SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}
"""Names of splits in lower case, as people write them."""

_ENDING = re.compile(r"[_\- ](?:images|imgs|set|split|data)$")


def split_of(name: str) -> Split | None:
    """The split that a word names, in any case and with an ending such as `_set`; None for other words.

    >>> [split_of(name) for name in ("Train", "TEST_images", "dev-set", "cats")]
    ['train', 'test', 'validation', None]
    """
    word = name.strip().casefold().replace("hold-out", "holdout").replace("hold_out", "holdout")
    return SPLIT_NAMES.get(_ENDING.sub("", word))


def twice(names: Iterable[str]) -> dict[Split, list[str]]:
    """Splits that go by several names at once, which is ambiguous; the case of letters does not count."""
    found: dict[Split, dict[str, str]] = {}
    for name in sorted(names):
        split = split_of(name)
        if split is not None:
            found.setdefault(split, {}).setdefault(name.strip().casefold(), name)
    return {split: list(spelt.values()) for split, spelt in found.items() if len(spelt) > 1}
