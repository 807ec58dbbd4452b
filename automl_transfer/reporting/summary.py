"""What became of the trials of a study: counts by fate, failures with their reasons, the incumbent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.reporting.ranking import Ranking, Row, can_be_ranked

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Failure(BaseModel):
    """One reason to fail, and the numbers of the trials that it ended.

    Attributes:
        continued: Those of them that a later attempt carried on.
    """

    model_config = _FROZEN

    reason: str
    trials: tuple[int, ...]
    continued: tuple[int, ...] = ()


class StudySummary(BaseModel):
    """A study at a glance.

    Attributes:
        restarted: Trials that were started over because their checkpoint was gone.
        unranked: Complete trials that hold no strategy or no curve, as other tools write them.
    """

    model_config = _FROZEN

    study: str
    counts: dict[TrialState, int]
    failures: tuple[Failure, ...]
    restarted: tuple[int, ...]
    unranked: tuple[int, ...]
    incumbent: Row | None

    @property
    def trials(self) -> int:
        """Number of trials of any fate."""
        return sum(self.counts.values())


def summarise(records: Iterable[TrialRecord], ranking: Ranking) -> StudySummary:
    """Count fates and gather the reasons of failed trials."""
    everything = sorted(records, key=lambda record: record.number)
    counts = Counter(record.state for record in everything)
    last_attempt: dict[int, int] = {}
    for record in everything:
        last_attempt[record.root] = max(record.attempt, last_attempt.get(record.root, 0))
    by_reason: dict[str, list[TrialRecord]] = {}
    for record in everything:
        if record.state is TrialState.FAIL:
            reason = str(record.stop) if record.stop else "no reason was recorded"
            by_reason.setdefault(reason, []).append(record)
    return StudySummary(
        study=ranking.study,
        counts={state: counts[state] for state in TrialState if counts[state]},
        failures=tuple(
            Failure(
                reason=reason,
                trials=tuple(record.number for record in failed),
                continued=tuple(r.number for r in failed if last_attempt[r.root] > r.attempt),
            )
            for reason, failed in by_reason.items()
        ),
        restarted=tuple(record.number for record in everything if record.restarts),
        unranked=tuple(
            record.number
            for record in everything
            if record.state is TrialState.COMPLETE and not can_be_ranked(record)
        ),
        incumbent=ranking.best,
    )
