"""Which confirmation run comes next: runs are spent on the strategies that may still turn out best.

Everything is decided from the runs that are in the store, so a race that was interrupted goes on where
it stopped, and decides what it would have decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from automl_transfer.domain.evidence import ExtraRun, FailedRun
from automl_transfer.domain.measured import Metric
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.strict_json import Frozen
from automl_transfer.reporting.confirmed import Arm, arms_of
from automl_transfer.reporting.panel import Panel
from automl_transfer.reporting.statistics import Groups

LEAST_SECONDS = 30.0
"""Confirmation may take this long, however short the search was, where there is something to decide."""

FIRST_RUNS = 2
"""Runs that every candidate gets: with fewer, nothing is known about the spread over seeds."""


AS_CHEAP = 2.0
"""Where nothing is left to gain: by how many times the training of the best another one's may be longer."""


class ConfirmationProgress(Frozen):
    """How far the confirmation is that the study asks for.

    Attributes:
        strategies: How many of the best by validation score are confirmed at most (`confirm` of the study).
        done: Trainings of these that are done.
        planned: Trainings that there are at least, once it is complete: two of each and all of the best.
            `done` may be more, where two strategies stay close.
        stopped: Why it ended before that; None where nothing is known, or it is complete.
        failed: Trainings that failed.
    """

    strategies: int
    done: int
    planned: int
    stopped: str | None = None
    failed: tuple[FailedRun, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.done >= self.planned


def worth_confirming(best: Sequence[TrialRecord], *, settled: bool) -> list[TrialRecord]:
    """Which of the candidates the end of a search confirms.

    Once no strategy could be shown to be better than the best one (`search.noise`), no other is worth many
    times its training: only those are confirmed beside it that cost about as little.

    Args:
        best: Candidates, the best by validation first.
        settled: Whether nothing is left to gain.
    """
    if not settled or not best:
        return list(best)
    most = AS_CHEAP * best[0].train_seconds
    return [best[0], *(record for record in best[1:] if record.train_seconds <= most)]


def next_round(
    roots: Sequence[int],
    runs: Sequence[ExtraRun],
    max_runs: int,
    metric: Metric = "accuracy",
    *,
    most_seconds: float = math.inf,
    settled: bool = False,
    groups: Groups | None = None,
) -> list[tuple[int, int]]:
    """(root, run) pairs to train next, the same run for every strategy; empty when the race is over.

    Round by round every strategy that is still raced gets one more run. From the second round on, one
    that can be ruled out as the best (`Panel.kept`) drops out: then it is out of the set, too. The
    leader runs to the end even when it is alone: its accuracy is what people will read.

    After the first rounds, no other strategy than the leader is trained again where that would make all
    runs together take more than `most_seconds`, as far as earlier runs tell; the cheapest goes first. Where
    nothing is left to gain (`settled`), no decision is open, and that bounds the leader as well.
    """
    if not roots:
        return []
    known = arms_of(runs)
    arms = {root: known.get(root, Arm(root, {})) for root in roots}
    raced = list(roots)
    for number in range(max_runs):
        missing = [(root, number) for root in raced if number not in arms[root].runs]
        if number >= FIRST_RUNS:
            # Judged by the rounds before alone: so a race that goes on decides what it decided.
            before = Panel([_up_to(arms[root], number) for root in roots], metric, groups)
            kept = dict(zip(before.roots, before.kept(max_runs), strict=True))
            leader = before.order[0]
            raced = [root for root in raced if kept[root] or root == leader]
            missing = [pair for pair in missing if pair[0] in raced]
            missing = _affordable(missing, leader, runs, most_seconds, spared=not settled)
        if missing:
            return missing
    return []


def most_seconds(records: Iterable[TrialRecord], *, settled: bool) -> float:
    """How long the confirmation at the end of a search may take: half as long as its trials did."""
    searched = sum(record.outcome.train_seconds for record in records if record.outcome is not None)
    return searched / 2 if settled else max(searched / 2, LEAST_SECONDS)


def owed(
    roots: Sequence[int],
    runs: Sequence[ExtraRun],
    max_runs: int,
    metric: Metric = "accuracy",
    *,
    most_seconds: float = math.inf,
    settled: bool = False,
    groups: Groups | None = None,
) -> tuple[int, int]:
    """Runs of these candidates that are done, and runs that there are at least when the race is over.

    Those are `FIRST_RUNS` of each and `max_runs` of the leader. Others are trained more often only where
    that decides, so they are not owed.
    """
    known = arms_of(runs)
    arms = {root: known.get(root, Arm(root, {})) for root in roots}
    done = sum(len(arm.runs) for arm in arms.values())
    if not next_round(
        roots, runs, max_runs, metric, most_seconds=most_seconds, settled=settled, groups=groups
    ):
        return done, done
    first = sum(max(0, FIRST_RUNS - len(arm.runs)) for arm in arms.values())
    begun = [arm for arm in arms.values() if arm.runs]
    leader = Panel(begun, metric, groups).order[0] if begun else roots[0]
    last = max(0, max_runs - max(FIRST_RUNS, len(arms[leader].runs)))
    if settled:
        last = min(last, _fitting(arms, leader, most_seconds))
    return done, done + max(1, first + last)


def _fitting(arms: Mapping[int, Arm], leader: int, most_seconds: float) -> int:
    """How many more runs of the leader fit after the first ones of all, as far as earlier ones tell."""
    costs = {root: _cost(list(arm.runs.values())) for root, arm in arms.items()}
    spent = sum(max(len(arm.runs), FIRST_RUNS) * costs[root] for root, arm in arms.items())
    each = costs[leader]
    return 0 if each <= 0.0 else max(0, int((most_seconds - spent) / each))


def _affordable(
    missing: Sequence[tuple[int, int]],
    leader: int,
    runs: Sequence[ExtraRun],
    most_seconds: float,
    *,
    spared: bool,
) -> list[tuple[int, int]]:
    """The leader, and the cheapest others that fit, if runs take as long as before.

    The leader goes first; `spared`, it need not fit.
    """
    taken: dict[int, list[ExtraRun]] = {root: [] for root, _ in missing}
    for run in runs:
        taken.setdefault(run.root, []).append(run)
    spent = sum(run.seconds for run in runs)
    chosen = []
    for root, number in sorted(missing, key=lambda pair: (pair[0] != leader, _cost(taken[pair[0]]))):
        spent += _cost(taken[root])
        fits = spent <= most_seconds and len(taken[root]) >= number
        if fits or (spared and root == leader):
            chosen.append((root, number))
    return [pair for pair in missing if pair in chosen]


def _cost(runs: Sequence[ExtraRun]) -> float:
    return fmean(run.seconds for run in runs) if runs else 0.0


def _up_to(arm: Arm, number: int) -> Arm:
    return Arm(arm.root, {done: run for done, run in arm.runs.items() if done < number})
