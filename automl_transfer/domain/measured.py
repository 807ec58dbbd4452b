"""What models are scored by: three shares that are always measured, and one more where that is asked for.

`robust-8` is the accuracy under an attack, PGD of 8/255 (`domain.attack`).

A metric of another package is an entry point in the group `automl_transfer.metrics`: a function of logits
(n, C) and labels (n,) that gives a number in [0, 1], higher is better.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from automl_transfer import plugins
from automl_transfer.domain.attack import ROBUST, attack_of
from automl_transfer.domain.strict_json import Frozen
from automl_transfer.errors import ConfigurationError

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Metric = Annotated[str, Field(pattern=_NAME)]
"""The name of a metric; whether it is installed is asked where it is measured. What was measured can be read
without it."""
MEASURED = ("accuracy", "balanced_accuracy", "macro_f1")
BALANCED = ("balanced_accuracy", "macro_f1")
"""Those that count every class the same, however many images it has."""

_HERE = dict.fromkeys((*MEASURED, ROBUST), "")
_NOUN = "metric"


def check_metric(name: str) -> None:
    """Raise ConfigurationError where no metric of this name is installed; lists those that are."""
    if name == ROBUST:
        raise ConfigurationError(f"metric {ROBUST} must say how many 255ths, as in robust-8, got {name!r}")
    if attack_of(name) is None:
        plugins.check("metrics", _HERE, name, noun=_NOUN)


def unknown_metric(name: object) -> list[str]:
    """The mistake of a `[task]` table that names a metric which is not installed here, under its key."""
    try:
        if isinstance(name, str) and re.match(_NAME, name):  # else it is no name, which is said elsewhere
            check_metric(name)
    except ConfigurationError as error:
        return [f"task.metric: {str(error).removeprefix(f'{_NOUN} ')}"]
    return []


def load_metric(name: str) -> Any:
    """The function of a metric of another package.

    Raises:
        ConfigurationError: None has this name, or it is broken.
    """
    return plugins.chosen("metrics", {}, name, "a function (logits, labels)", noun=_NOUN)


class Shares(Frozen):
    """Scores of a model, of which some may be missing."""

    def shares(self) -> dict[str, Any]:
        """The scores alone, for another record of the same model."""
        return {name: getattr(self, name) for name in (*MEASURED, "other")}

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if written.get("other", 0) is None:  # as versions before wrote it, and can read it
            del written["other"]
        return written


class Measured(Shares):
    """Scores of a model, in [0, 1].

    Attributes:
        other: The task's metric where it is none of the others; else None, and not written.
    """

    accuracy: float = Field(ge=0.0, le=1.0)
    balanced_accuracy: float = Field(ge=0.0, le=1.0)
    macro_f1: float = Field(ge=0.0, le=1.0)
    other: float | None = Field(default=None, ge=0.0, le=1.0)

    def score(self, metric: Metric) -> float:
        """The value of the task's metric."""
        return score_of(self, metric)


def score_of(measured: Any, metric: Metric) -> float:
    """The value of a metric among some scores."""
    value = getattr(measured, metric if metric in MEASURED else "other")
    assert value is not None, f"the {metric} was not measured"
    return float(value)
