"""Attacks on images that a model is measured under: how far they may go, and how they are written."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from automl_transfer.domain.strict_json import Frozen
from automl_transfer.errors import ConfigurationError

PGD_STEPS = 10
_WRITTEN = re.compile(r"(fgsm|pgd):([^:]+)(?::([0-9]{1,4}))?")
_SHARE = re.compile(r"([0-9]{1,3})/255|([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)", re.IGNORECASE)
_METRIC = re.compile(r"robust-([0-9]{1,3})")
ROBUST = "robust-N"
"""The metric that stands for the accuracy under PGD, as it is listed to people."""


class Attack(Frozen):
    """No pixel moves further than `eps`.

    Attributes:
        kind: `fgsm`, one step of the whole length along the gradient's sign (Goodfellow et al. 2015, section
            4), or `pgd`, several shorter ones from a random start (Madry et al. 2018, section 2.1).
        eps: Largest change of a pixel, of pixels in [0, 1]: 8/255 is .0314.
        steps: Of `pgd`; `fgsm` has one.
    """

    kind: Literal["fgsm", "pgd"] = "pgd"
    eps: float = Field(gt=0.0, le=1.0)
    steps: int = Field(default=PGD_STEPS, ge=1, le=1000)

    @model_validator(mode="before")
    @classmethod
    def _usual_steps(cls, given: Any) -> Any:
        return {"steps": _usual(given.get("kind")), **given} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _steps_of_its_kind(self) -> Self:
        if self.kind == "fgsm" and self.steps != 1:
            raise ConfigurationError(f"fgsm has one step, got {self.steps}: leave steps out, or use pgd")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `fgsm:EPS` or `pgd:EPS:STEPS`, where eps is a number or a fraction of 255.

        >>> Attack.parse("pgd:8/255:20")
        Attack(kind='pgd', eps=0.03137254901960784, steps=20)

        Raises:
            ConfigurationError: It is none.
        """
        found = _WRITTEN.fullmatch(text.strip().lower())
        if found is None:
            raise ConfigurationError(
                f"an attack must be fgsm:EPS or pgd:EPS:STEPS, as in pgd:8/255:10, got {text!r}"
            )
        return cls.of(found[1], share(found[2]), int(found[3]) if found[3] else None)

    @classmethod
    def of(cls, kind: str, eps: float, steps: int | None = None) -> Self:
        """The attack of these facts; with the usual number of steps where none is said.

        Raises:
            ConfigurationError: There is none.
        """
        steps = _usual(kind) if steps is None else steps
        if kind not in ("fgsm", "pgd"):
            raise ConfigurationError(f"an attack must be fgsm or pgd, got {kind!r}")
        if not 0.0 < eps <= 1.0 or not 1 <= steps <= 1000:
            raise ConfigurationError(
                f"an attack must have an eps in (0, 1] of pixels in [0, 1], and 1 to 1000 steps, got {eps:g} "
                f"and {steps}: 8/255 and 10 are usual"
            )
        return cls(kind=kind, eps=eps, steps=steps)  # type: ignore[arg-type, unused-ignore]

    def __str__(self) -> str:
        eps = f"{255 * self.eps:.3g}/255"
        return f"FGSM {eps}" if self.kind == "fgsm" else f"PGD-{self.steps} {eps}"


def _usual(kind: object) -> int:
    """Steps, where nobody says how many."""
    return 1 if kind == "fgsm" else PGD_STEPS


def share(text: str) -> float:
    """A number in [0, 1], or so many 255ths of it.

    >>> share("51/255"), share(".1")
    (0.2, 0.1)

    Raises:
        ConfigurationError: It is neither.
    """
    found = _SHARE.fullmatch(text.strip())
    value = None if found is None else int(found[1]) / 255 if found[1] else float(found[2])
    if value is None or not 0.0 <= value <= 1.0:
        raise ConfigurationError(f"eps must be a number in (0, 1] or a fraction such as 8/255, got {text!r}")
    return value


def attack_of(metric: str) -> Attack | None:
    """The attack under which a metric measures accuracy; None for one that is measured on clean images.

    >>> attack_of("robust-51"), attack_of("accuracy")
    (Attack(kind='pgd', eps=0.2, steps=10), None)
    """
    found = _METRIC.fullmatch(metric)
    size = int(found[1]) if found else 0
    return Attack(eps=size / 255) if 1 <= size <= 255 else None
