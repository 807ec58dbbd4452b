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
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}
"""Names of splits in lower case, as people write them."""

_ENDING = re.compile(r"[_\- .]*(?:(?:images|image|imgs|img|dataset|set|split|data|files)[_\- .]*)?\d{0,4}$")
_UNLABELLED = re.compile(r"unlabell?ed")


def split_of(name: str) -> Split | None:
    """The split that a word names, in any case and with an ending such as `_set`; None for other words.

    >>> [split_of(name) for name in ("Train", "TEST_images", "dev-set", "val2017", "cats")]
    ['train', 'test', 'validation', 'validation', None]
    """
    word = name.strip().casefold().replace("hold-out", "holdout").replace("hold_out", "holdout")
    return SPLIT_NAMES.get(_ENDING.sub("", word))


def without_labels(name: str) -> bool:
    """Whether a word says that its images have no labels.

    >>> [without_labels(name) for name in ("Unlabeled", "unlabelled_images", "labelled")]
    [True, True, False]
    """
    return _UNLABELLED.fullmatch(_ENDING.sub("", name.strip().casefold())) is not None


def twice(names: Iterable[str]) -> dict[Split, list[str]]:
    """Splits that go by several names at once, which is ambiguous; the case of letters does not count."""
    found: dict[Split, dict[str, str]] = {}
    for name in sorted(names):
        split = split_of(name)
        if split is not None:
            found.setdefault(split, {}).setdefault(name.strip().casefold(), name)
    return {split: list(spelt.values()) for split, spelt in found.items() if len(spelt) > 1}


def almost_splits(names: Iterable[str]) -> dict[str, Split]:
    """Names that say a split beside one and the same other word, as `seg_train` and `seg_test` do.

    >>> almost_splits(["seg_train", "seg_test", "cats"])
    {'seg_train': 'train', 'seg_test': 'test'}
    >>> almost_splits(["train_station", "test_tube"])
    {}
    """
    rests: dict[tuple[str, ...], dict[str, Split]] = {}
    for name in names:
        words = [word for word in re.split(r"[^a-z]+", name.casefold()) if word]
        said = [word for word in words if word in SPLIT_NAMES]
        if len(said) == 1 and len(words) > 1:
            rest = tuple(word for word in words if word != said[0])
            rests.setdefault(rest, {})[name] = SPLIT_NAMES[said[0]]
    return {
        name: split
        for group in rests.values()
        if "train" in group.values() and len(set(group.values())) > 1
        for name, split in group.items()
    }
