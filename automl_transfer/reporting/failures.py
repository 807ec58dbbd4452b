"""Every trial that failed or was interrupted: its class, its reason, the last lines of its log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from automl_transfer.domain.records import StopKind, TrialRecord, TrialState
from automl_transfer.reporting.plain import plain
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.reporting.summary import left_out

LINES = 12
NAMES: dict[StopKind, str] = {
    StopKind.RELEASED: "interrupted",
    StopKind.CRASHED: "crashed",
    StopKind.OUT_OF_MEMORY: "out of memory",
    StopKind.NOT_A_NUMBER: "not a number",
    StopKind.DATA: "data",
    StopKind.STORE: "store",
    StopKind.BUG: "bug",
}


@dataclass(frozen=True)
class FailedTrial:
    """A trial that did not end as it should.

    Attributes:
        kind: The class of what happened.
        reason: Its first line, for people.
        words: The strategy.
        log: What is known of its last moments: lines of its worker's log where that is on this machine,
            else its last epochs from the store; then the rest of the reason, such as a traceback.
        then: What became of the strategy.
    """

    number: int
    kind: str
    reason: str
    words: str
    log: tuple[str, ...]
    then: str


def failed_trials(report: StudyReport) -> list[FailedTrial]:
    """Failed trials, and interrupted ones that still wait, by number."""
    last: dict[int, TrialRecord] = {}
    for record in report.records:
        if record.root not in last or record.attempt >= last[record.root].attempt:
            last[record.root] = record
    found = []
    for record in report.records:
        waits = record.state is TrialState.WAITING and record.stop is not None
        if record.state is not TrialState.FAIL and not waits:
            continue
        first, *rest = (record.stop.detail if record.stop else "").splitlines() or [""]
        kind = NAMES.get(record.stop.kind, record.stop.kind.value) if record.stop else "unknown"
        log = report.logs.get(record.number) or tuple(_epochs(record))
        found.append(
            FailedTrial(
                number=record.number,
                kind=kind,
                reason=plain(first) or "no reason was recorded",
                words=plain(report.words(record)),
                log=tuple(plain(line, 400) for line in (*log, *rest[-LINES:])),
                then=_then(record, last[record.root]),
            )
        )
    return found


def oddities(report: StudyReport) -> Iterator[str]:
    """Trials that ended well and are still worth a word."""
    if report.summary.restarted:
        yield f"Started over, because their checkpoint was gone: {_numbers(report.summary.restarted)}."
    if report.summary.unranked and report.task is not None:
        yield (
            f"Not ranked, because no strategy or no curve is recorded: {_numbers(report.summary.unranked)}."
        )
    yield from left_out(report.summary.unreadable)


def _then(record: TrialRecord, last: TrialRecord) -> str:
    if record.state is TrialState.WAITING:
        return "waits to go on"
    if last.number == record.number:
        return "given up"
    return f"went on as trial {last.number}: {last.state.value.lower()}"


def _epochs(record: TrialRecord) -> Iterator[str]:
    """The curve's end, as a log would have it."""
    for epoch in record.epochs[-3:]:
        yield (
            f"epoch {epoch.epoch}: validation accuracy {epoch.accuracy:.4f}, loss "
            f"{epoch.validation_loss:.4f}, {epoch.seconds:.1f} s"
        )


def _numbers(trials: tuple[int, ...]) -> str:
    return ", ".join(map(str, trials[:12])) + (", ..." if len(trials) > 12 else "")
