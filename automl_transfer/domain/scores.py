"""Scores of a source on a task, before anything is trained: by their names; imported when they are used.

A new score is one file and one line here. From another package, it is an entry point in the group
`automl_transfer.scores`: a function of a `transfer.scores.base.Seen` that gives a number, more is better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from automl_transfer import plugins

SCORES: dict[str, str] = {
    "ridge": "transfer.scores.ridge:ridge",
    "h_score": "transfer.scores.h_score:h_score",
    "knn": "transfer.scores.knn:knn",
    "logme": "transfer.scores.logme:logme",
    "gbc": "transfer.scores.gbc:gbc",
}


def names() -> tuple[str, ...]:
    """All scores that are installed here."""
    return (*SCORES, *plugins.names("scores", SCORES.keys()))


def get(name: str) -> Callable[[Any], float]:
    """The score of this name.

    Raises:
        ConfigurationError: There is none (the message lists all), or a plugin adds it and is broken.
    """
    found: Callable[[Any], float] = plugins.chosen("scores", SCORES, name, "a function (seen)", noun="score")
    return found
