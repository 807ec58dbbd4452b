"""What became of the trials of a study: counts by fate, failures with their reasons, the incumbent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from automl_transfer.domain.records import TrialRecord, TrialState, UnreadableRow
from automl_transfer.domain.strict_json import Frozen
from automl_transfer.reporting.plain import plain
from automl_transfer.reporting.ranking import RankedStrategy, Ranking

FATES: dict[TrialState, str] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
PAUSED = "paused"
NAMED = 12
"""Rows that cannot be read are named one by one up to here."""


def fate_of(record: TrialRecord) -> str:
    """What became of a trial, in a word."""
    return PAUSED if record.is_paused else FATES[record.state]


class Failure(Frozen):
    """One reason to fail, and the numbers of the trials that it ended.

    Attributes:
        continued: Those of them that a later attempt carried on.
    """

    reason: str
    trials: tuple[int, ...]
    continued: tuple[int, ...] = ()


class StudySummary(Frozen):
    """A study at a glance.

    Attributes:
        counts: Trials by state; those that are `paused` are among the PRUNED ones.
        restarted: Trials that were started over because their checkpoint was gone.
        unranked: Complete trials that hold no strategy or no curve, as other tools write them.
        unreadable: What this program cannot read of the study, and has left out.
    """

    study: str
    counts: dict[TrialState, int]
    paused: int = 0
    failures: tuple[Failure, ...]
    restarted: tuple[int, ...]
    unranked: tuple[int, ...]
    unreadable: tuple[UnreadableRow, ...] = ()
    incumbent: RankedStrategy | None

    @property
    def trials(self) -> int:
        """Number of trials of any fate."""
        return sum(self.counts.values())

    def fates(self) -> str:
        """How many trials came to which end, or are on their way, in words; empty where there are none."""
        numbers = {name: self.counts.get(state, 0) for state, name in FATES.items()}
        numbers[FATES[TrialState.PRUNED]] -= self.paused
        numbers[PAUSED] = self.paused
        return ", ".join(f"{number} {name}" for name, number in numbers.items() if number)


def summarise(
    records: Iterable[TrialRecord], ranking: Ranking, unreadable: Iterable[UnreadableRow] = ()
) -> StudySummary:
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
        paused=sum(record.is_paused for record in everything),
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
            if record.state is TrialState.COMPLETE and not record.can_be_ranked
        ),
        unreadable=tuple(unreadable),
        incumbent=ranking.best,
    )


def left_out(rows: Sequence[UnreadableRow]) -> Iterator[str]:
    """What could not be read, and why: a line for each, the first few."""
    for row in rows[:NAMED]:
        yield f"Left out, because it cannot be read: {plain(str(row))}"
    if len(rows) > NAMED:
        yield f"Left out, because they cannot be read: {len(rows) - NAMED} more"
