"""Everything that a report knows about one study, read from the store in one go."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from automl_transfer.domain.evidence import ExtraRun, FailedRun, ProfileRecord, TestLook
from automl_transfer.domain.measured import Metric
from automl_transfer.domain.records import TrialRecord, TrialState, UnreadableRow
from automl_transfer.domain.spec import CONFIRM_RUNS, StudySpec
from automl_transfer.domain.task import Task
from automl_transfer.domain.warm import WarmStart
from automl_transfer.errors import StudyError, UserError
from automl_transfer.reporting.candidates import by_validation, ranked_epoch
from automl_transfer.reporting.confirmed import pool_groups
from automl_transfer.reporting.errors_of_winner import WinnerErrors
from automl_transfer.reporting.racing import ConfirmationProgress, most_seconds, owed, worth_confirming
from automl_transfer.reporting.ranking import RankedTask, Ranking, rank
from automl_transfer.reporting.summary import StudySummary, summarise
from automl_transfer.search.noise import over_by

if TYPE_CHECKING:
    from automl_transfer.store.store import Store
    from automl_transfer.store.values import StudyHandle

MOST_LOOKS, MOST_BYTES = 5, 1_000_000
"""Trials whose picture is looked for, and the bytes of one."""


@dataclass(frozen=True)
class Picture:
    """A picture of one trial, a PNG, with its size in pixels."""

    root: int
    strategy: str
    png: bytes
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class StudyReport:
    """One study as a report sees it. Plain values: nothing here reads the store again.

    Compared by identity, so that what is derived from one can be kept beside it.

    Attributes:
        task, spec: None for a study that plain Optuna made: it has trials, but no strategies.
        records: All trials by number.
        runs: Confirmations and audits.
        profiles: Of the study's sources, as far as they were made.
        winner: What the shipped winner gets wrong; None before one was shipped, or on another machine.
        logs: Last lines of the log by trial number, where a log was found.
        reconstructions: Of the best strategy that was prepared by reconstruction; None without one, or where
            its picture is not at hand.
        begun: How it began, where that is known.
        first: Which trials were first answers, by number.
        maximised: Whether higher values are better; None where a study of plain Optuna has several values.
    """

    study: str
    task: Task | None
    spec: StudySpec | None
    records: tuple[TrialRecord, ...]
    ranking: Ranking
    summary: StudySummary
    runs: tuple[ExtraRun, ...] = ()
    profiles: tuple[ProfileRecord, ...] = ()
    winner: WinnerErrors | None = None
    logs: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    reconstructions: Picture | None = None
    begun: WarmStart | None = None
    first: Mapping[int, str] = field(default_factory=dict)
    maximised: bool | None = True

    @property
    def metric(self) -> Metric:
        """What the study's values are."""
        return self.ranking.task.metric

    @property
    def metric_name(self) -> str:
        """The metric in words; for a study without a task, "value"."""
        return "value" if self.task is None else self.metric.replace("_", " ")

    @property
    def max_epochs(self) -> int:
        """The horizon of every trial; the longest curve where no specification says."""
        if self.spec is not None:
            return self.spec.search.epochs
        return max((record.epochs[-1].epoch for record in self.records if record.epochs), default=0)

    @cached_property
    def begin(self) -> float | None:
        """When the first trial began, in seconds since 1970."""
        return min((r.started.timestamp() for r in self.records if r.started is not None), default=None)

    def elapsed(self, record: TrialRecord) -> float | None:
        """Seconds from the study's first trial to this one's end; None where a clock is missing."""
        if record.finished is None or self.begin is None:
            return None
        return max(0.0, record.finished.timestamp() - self.begin)  # clocks of workers may differ

    def score(self, record: TrialRecord) -> float | None:
        """A trial's score: of its kept epoch when complete, of its last epoch else; None without one."""
        if record.epochs:
            if record.can_be_ranked:
                return ranked_epoch(record, self.metric).score(self.metric)
            return record.epochs[-1].score(self.metric)
        value = record.value
        return value if value is not None and math.isfinite(value) else None

    def words(self, record: TrialRecord) -> str:
        """A trial's strategy in words."""
        return "no strategy is recorded" if record.strategy is None else record.strategy.describe()

    @cached_property
    def complete(self) -> tuple[TrialRecord, ...]:
        """Complete trials with a score, by number."""
        return tuple(r for r in self.records if r.state is TrialState.COMPLETE and self.score(r) is not None)

    @cached_property
    def by_number(self) -> Mapping[int, TrialRecord]:
        """Trials by number."""
        return {record.number: record for record in self.records}


def read_study_report(store: Store, study: str | StudyHandle, *, stopped: str | None = None) -> StudyReport:
    """Read a study, by its name whoever made it, or one of ours under whatever name it has now.

    A few queries, however many trials.

    Args:
        store: Where it is.
        study: Its name, or what it was opened as.
        stopped: Why its confirmation ended, where that is known; said where some of it is left undone.

    Raises:
        StudyError: There is no study of this name, or not any more.
    """
    from automl_transfer.store.evidence import Evidence
    from automl_transfer.store.trials import Trials
    from automl_transfer.store.warm import first_answers, read_warm_start

    if isinstance(study, str):
        found = next((each for each in store.studies() if each.name == study), None)
        if found is not None and not found.ours:
            foreign = Trials(store).read(found.study_id)
            made = make_report(study, None, None, foreign.records, unreadable=foreign.unreadable)
            return dataclasses.replace(made, maximised=found.maximised)
        handle = store.study(study)  # or its error, which names the studies there are
    else:
        handle = store.again(study)
    evidence, trials = Evidence(store), Trials(store).read(handle)
    report = make_report(
        handle.name,
        handle.task,
        handle.spec,
        trials.records,
        runs=evidence.runs(handle),
        profiles=evidence.profiles(handle),
        failures=evidence.failures(handle, "confirm"),
        looks=evidence.looks(handle),
        stopped=stopped,
        identity=handle.identity,
        unreadable=[*trials.unreadable, *evidence.unreadable(handle)],
    )
    return dataclasses.replace(
        report,
        reconstructions=_reconstructions(report, handle),
        begun=read_warm_start(store, handle),
        first=first_answers(store, handle),
    )


def _reconstructions(report: StudyReport, study: StudyHandle) -> Picture | None:
    """The picture of the best ranked trial that has one, if this machine reaches the study's files."""
    from PIL import Image

    from automl_transfer.store.files import reconstructions_key, study_files

    rows = [row for row in report.ranking.rows if "prepare_steps" in row.strategy.active()]
    for row in rows[:MOST_LOOKS]:
        try:
            with study_files(study).open(reconstructions_key(row.root_trial)) as stream:
                png = stream.read(MOST_BYTES)
            with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
                width, height = image.size
        except (OSError, ValueError, UserError, Image.DecompressionBombError):
            continue  # a report is worth more than a picture
        return Picture(row.root_trial, row.description, png, width, height)
    return None


def make_report(
    study: str,
    task: Task | None,
    spec: StudySpec | None,
    records: list[TrialRecord],
    *,
    runs: list[ExtraRun] | None = None,
    profiles: list[ProfileRecord] | None = None,
    identity: str | None = None,
    unreadable: list[UnreadableRow] | None = None,
    failures: list[FailedRun] | None = None,
    looks: list[TestLook] | None = None,
    stopped: str | None = None,
) -> StudyReport:
    """Put a report together from what is known."""
    confirmed = [run for run in runs or () if run.kind == "confirm"]
    if task is not None:
        ranking = rank(
            records,
            task,
            study,
            confirmed,
            identity=identity,
            confirm_runs=spec.search.confirm_runs if spec is not None else CONFIRM_RUNS,
            failed={failure.root for failure in failures or ()},
        ).model_copy(
            update={
                "confirmation": _progress(spec, records, confirmed, failures or [], task, stopped),
                "ended": _ended(spec, task, records),
                "test_looks": tuple(looks or ()),
            }
        )
    else:
        nothing = RankedTask(name="a study of plain Optuna", fingerprint="", metric="accuracy")
        ranking = Ranking(task=nothing, study=study, rows=(), timeline=())
    return StudyReport(
        study=study,
        task=task,
        spec=spec,
        records=tuple(records),
        ranking=ranking,
        summary=summarise(records, ranking, unreadable or ()),
        runs=tuple(runs or ()),
        profiles=tuple(profiles or ()),
    )


def _ended(spec: StudySpec | None, task: Task, records: list[TrialRecord]) -> str | None:
    """Why a study that has budget left draws no more strategies."""
    if spec is None or any(r.is_open for r in records):
        return None
    if len({record.root for record in records}) >= spec.search.trials:
        return None
    return _over(spec, task, records)


def _over(spec: StudySpec, task: Task, records: list[TrialRecord]) -> str | None:
    """Why nothing is left to gain; None where something is."""
    complete = [r.value for r in records if r.state is TrialState.COMPLETE and r.value is not None]
    return over_by(spec.search, task, lambda: max(complete, default=None))


def _progress(
    spec: StudySpec | None,
    records: list[TrialRecord],
    runs: list[ExtraRun],
    failures: list[FailedRun],
    task: Task,
    stopped: str | None,
) -> ConfirmationProgress | None:
    """How far the confirmation is that a study asks for."""
    if spec is None or not spec.search.confirm:
        return None
    best = by_validation(records, task.metric)[: spec.search.confirm]
    settled = _over(spec, task, records) is not None
    best = worth_confirming(best, settled=settled)
    if not best:
        return None
    failed = {failure.root for failure in failures}
    done, planned = owed(
        [record.root for record in best if record.root not in failed],
        runs,
        spec.search.confirm_runs,
        task.metric,
        most_seconds=most_seconds(records, settled=settled),
        settled=settled,
        groups=pool_groups(task),
    )
    return ConfirmationProgress(
        strategies=spec.search.confirm,
        done=done,
        planned=planned,
        stopped=stopped if done < planned else None,
        failed=tuple(failures),
    )


def with_run_folder(
    report: StudyReport,
    winner: WinnerErrors | None,
    logs: Mapping[int, tuple[str, ...]],
) -> StudyReport:
    """The same report with what only the run's own folder knows."""
    return dataclasses.replace(report, winner=winner, logs=logs)


__all__ = ["StudyError", "StudyReport", "make_report", "read_study_report", "with_run_folder"]
