"""How a study began: what earlier tasks proposed to it, and whether that helped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from automl_transfer.domain.stored_strategy import MAX_CHARACTERS
from automl_transfer.domain.strict_json import Frozen

FirstAnswer = Literal["profile", "larger", "views", "finetuned", "tuned", "default"]
"""What a search tries without knowing of other tasks."""
HERE, IMPORTED, SHIPPED = "this store", "imported", "shipped"
"""Where earlier tasks are known from."""
HURDLE, ENOUGH = 2, 3
"""Proposals that come to the first rung before they are judged: by how far they are behind, and at all."""

Curve = Mapping[int, float]
"""Metric by epoch."""
Verdict = Literal["helps", "harms", "open"]


class Proposal(Frozen):
    """A strategy that earlier tasks propose.

    Attributes:
        strategy: On this task, as stores keep strategies.
        rank: Its mean rank over the tasks where it was tried: 1 is the best.
        tasks: How many these are.
        best_on: The one where it was best, by its name here.
    """

    strategy: str = Field(max_length=MAX_CHARACTERS)
    rank: float = Field(ge=0.0, le=1.0)
    tasks: int = Field(ge=1)
    best_on: str = Field(max_length=300)


class WarmStart(Frozen):
    """What was decided once, when a study's first answers were known; no other dataset's scores are in it.

    Attributes:
        tasks: How many earlier tasks there were, by where they are known from.
        studies: Names of those that this store's own studies are.
        nearest: Names of the most alike, the most alike first, and how far each is.
        proposals: In the order in which they are tried.
        left_out: Others that the space does not admit.
        afterwards: The default strategy, which comes after them and not among the first answers; empty where
            it does not.
    """

    tasks: dict[str, int] = Field(default_factory=dict)
    studies: tuple[str, ...] = ()
    nearest: tuple[tuple[str, float], ...] = ()
    proposals: tuple[Proposal, ...] = Field(default=(), max_length=100)
    left_out: int = Field(default=0, ge=0)
    afterwards: str = Field(default="", max_length=MAX_CHARACTERS)


def verdict(
    proposed: Sequence[Curve], cold: Sequence[Curve], rung: int, images: int | None = None
) -> Verdict:
    """Whether proposals help: of those that came to the first rung, the best is no worse than cold answers.

    Cold answers are judged by what they had at that rung, for these come to the end whatever happens; a
    proposal that went on, by all that it has. It is open until enough came there that it is not one's bad
    luck: one that is behind by more than two standard errors of the validation images decides alone, two
    where the better one is behind by more than one, three in any case.

    Args:
        proposed: Of the proposals that were tried.
        cold: Of the trained first answers.
        rung: Epochs to the first rung.
        images: That validate; None where that is not known.
    """
    there = [curve for curve in proposed if max(curve, default=0) >= rung]
    before = [
        max(v for e, v in curve.items() if e <= rung) for curve in cold if max(curve, default=0) >= rung
    ]
    if not there or not before:
        return "open"
    best, to_beat = max(max(curve.values()) for curve in there), max(before)
    if best >= to_beat:
        return "helps"
    share = min(1.0, max(0.0, to_beat))
    if images is None:
        return "harms" if len(there) >= HURDLE else "open"
    errors = 2.0 if len(there) < HURDLE else 1.0
    behind = to_beat - best > errors * math.sqrt(share * (1.0 - share) / images)
    return "harms" if behind or len(there) >= ENOUGH else "open"
