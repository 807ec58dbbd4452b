"""How often pruning was wrong: what a few pruned trials, chosen at random, reached in the end."""

from __future__ import annotations

from dataclasses import dataclass

from automl_transfer.domain.evidence import ExtraRun
from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.reporting.statistics import Interval, clopper_pearson
from automl_transfer.reporting.study_report import StudyReport


@dataclass(frozen=True)
class Audit:
    """The pruned trials that were run to their end.

    Attributes:
        trials: Each with its trial and the score at which it was stopped.
        pruned: Pruned trials in all, of which these are a random sample.
        best: The best validation score of the study, which a wrongly pruned trial would have beaten.
        wrong: How many did.
        interval: 95% Clopper-Pearson interval of the share that would have.
    """

    trials: tuple[tuple[TrialRecord, float, ExtraRun], ...]
    pruned: int
    best: float
    wrong: int
    interval: Interval


def audit(report: StudyReport) -> Audit | None:
    """The audit so far; None where no pruned trial was run to its end, or nothing is complete."""
    ends = {run.root: run for run in report.runs if run.kind == "audit"}
    pruned = [record for record in report.records if record.state is TrialState.PRUNED]
    trials = []
    for record in pruned:
        score = report.score(record)
        if record.root in ends and score is not None:
            trials.append((record, score, ends[record.root]))
    best = max((row.validation.score for row in report.ranking.rows), default=None)
    if not trials or best is None:
        return None
    wrong = sum(run.score(report.metric) > best for _, _, run in trials)
    return Audit(tuple(trials), len(pruned), best, wrong, clopper_pearson(wrong, len(trials)))
