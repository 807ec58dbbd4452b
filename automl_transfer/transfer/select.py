"""Which layer groups a strategy keeps, transfers and freezes."""

from __future__ import annotations

from dataclasses import dataclass

from automl_transfer.domain.dimensions import CLOSED_FORM, groups_at
from automl_transfer.domain.strategy import Strategy


@dataclass(frozen=True)
class Selection:
    """Numbers of leading groups: kept of the source's, transferred of those, frozen of those."""

    kept: int
    transferred: int
    frozen: int


def select_groups(strategy: Strategy, groups: int, *, pretrained: bool) -> Selection:
    """Map the strategy's depths (in eighths) to a network of so many groups.

    At least one group is kept. A source without trained weights transfers nothing.
    """
    kept = max(1, groups_at(strategy.truncation, groups))
    transferred = groups_at(strategy.transfer_depth, kept) if pretrained else 0
    if strategy.tune_mode in (CLOSED_FORM, "head"):
        frozen = kept
    elif strategy.tune_mode == "suffix":
        frozen = groups_at(strategy.freeze_depth, transferred)
    else:
        frozen = 0
    return Selection(kept, transferred, frozen)
