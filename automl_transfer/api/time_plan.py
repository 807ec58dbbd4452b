"""How the time of a whole command is divided: trials, then the confirmation of the best, then shipping."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from automl_transfer.api.composing import MOST_TOGETHER
from automl_transfer.api.offers import BY_RULE
from automl_transfer.domain.attack import attack_of
from automl_transfer.domain.evidence import ExtraRun, ProfileRecord
from automl_transfer.domain.measured import Metric
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.spec import SearchSpec, ShipAs
from automl_transfer.domain.task import Task
from automl_transfer.reporting.candidates import by_validation, ranked_epoch
from automl_transfer.reporting.racing import FIRST_RUNS
from automl_transfer.reporting.ranking import rank
from automl_transfer.search.objective import KEPT_MODELS

SHIPPING = 4.0
"""Seconds for the ranking, the page, the model's files and the dashboard, without passes over images."""

CONFIRMED = 1 / 3
"""Confirmation gets at most this share of the whole time."""
REFITTED = 0.45
"""A refit that nobody insists on gets at most this share of it: what it brings on photographs, another trial
seldom does (docs/performance.md)."""
OTHERS = 1 / 5
"""The same of a candidate that does not lead: more is not kept for it, so that confirmation need not end
early for a winner that seldom comes. Once it leads the confirmation, time is kept as for the best."""
NETWORKS: dict[ShipAs, int] = {"winner": 1, "auto": BY_RULE, "ensemble": MOST_TOGETHER, "soup": 0}
"""How many networks may be refitted before they ship; a soup's are not."""
ATTACKED = 3
"""Predictions that a step of an attack takes the time of: forward, and back to the pixels."""
LATE = 1 / 20
"""By so much of the whole time a refit may end late."""
AFTER = 1 / 2
"""The most for confirmation and a refit together: confirmation gives way, and trials have the rest."""


@dataclass(frozen=True)
class Costs:
    """Seconds that a training of a strategy takes, as far as its trial and its earlier runs tell.

    Attributes:
        once: Seconds of the first pass of a source over all images, which its first confirmation run makes.
    """

    metric: Metric
    runs: Mapping[int, Sequence[float]]
    once: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def known(cls, task: Task, runs: Iterable[ExtraRun], profiles: Iterable[ProfileRecord] = ()) -> Costs:
        """What is known about a study."""
        seconds: dict[int, list[float]] = {}
        for run in runs:
            if run.kind == "confirm":
                seconds.setdefault(run.root, []).append(run.seconds)
        both = task.splits.train + task.splits.validation
        once = {each.source: each.seconds * both / max(1, each.images) for each in profiles}
        return cls(task.metric, seconds, {} if seconds else once)

    def of_run(self, record: TrialRecord) -> float:
        """One more confirmation run: as those before, else as its trial took to the epoch that it kept."""
        if before := self.runs.get(record.root):
            return fmean(before)
        return _to_the_kept_epoch(record, self.metric)

    def first_runs(self, record: TrialRecord) -> float:
        """What is missing of the `FIRST_RUNS` without which confirmation says nothing of a strategy."""
        return self._missing(record, FIRST_RUNS)

    def of_race(self, candidates: Sequence[TrialRecord], max_runs: int) -> float:
        """All that confirmation owes: `FIRST_RUNS` of each candidate, and the rest of the best one."""
        left = 0.0
        for place, record in enumerate(candidates):
            left += self._missing(record, max_runs if place == 0 else FIRST_RUNS)
        sources = {record.strategy.source for record in candidates if record.strategy is not None}
        return left + sum(seconds for source, seconds in self.once.items() if source in sources)

    def _missing(self, record: TrialRecord, wanted: int) -> float:
        """Seconds of the runs that are not done of so many."""
        return max(0, wanted - len(self.runs.get(record.root, ()))) * self.of_run(record)


@dataclass(frozen=True)
class TimePlan:
    """The time of one command, on the clock of `time.monotonic()`.

    Attributes:
        began: When the command began.
        seconds: What it may take in all.
        refit: Whether the winner is refitted; None where that has its place in `REFITTED` of the time.
    """

    began: float
    seconds: float
    search: SearchSpec
    task: Task
    refit: bool | None

    @property
    def ends(self) -> float:
        """When the command should have ended."""
        return self.began + self.seconds

    def left(self) -> float:
        """Seconds until then, shipping not included."""
        return self.ends - SHIPPING - time.monotonic()

    def shipping_begins(self, records: Sequence[TrialRecord], leader: int | None = None) -> float:
        """When confirmation must stop, so that the winner ships in time.

        Args:
            records: Of the study.
            leader: The root of the strategy that leads by now; None for the best one by validation.
        """
        return self.ends - self._shipping(by_validation(records, self.task.metric), leader)

    def confirmation_ends(self, records: Sequence[TrialRecord], runs: Sequence[ExtraRun]) -> float:
        """The same as far as it is known from so many runs which strategy leads."""
        ranked = rank(records, self.task, "", runs, confirm_runs=self.search.confirm_runs)
        return self.shipping_begins(records, None if ranked.best is None else ranked.best.root_trial)

    def search_ends(self, records: Sequence[TrialRecord], costs: Costs) -> float:
        """When trials must stop, so that the best of now can be confirmed and shipped in time."""
        best = by_validation(records, self.task.metric)
        shipping = self._shipping(best)
        left = self.ends - shipping
        candidates = best[: self.search.confirm]
        share = min(CONFIRMED * self.seconds, max(0.0, AFTER * self.seconds - shipping))
        if candidates and costs.first_runs(candidates[0]) > share:
            return left  # a race that cannot even begin is worth less than another trial
        return left - min(costs.of_race(candidates, self.search.confirm_runs), share)

    def refits(self, winner: TrialRecord, share: float = REFITTED) -> bool:
        """Whether this winner is refitted, where a refit may take such a share of the time."""
        return self.refit if self.refit is not None else self._refit(winner) <= share * self.seconds

    def refits_now(self, record: TrialRecord, kept: bool = True) -> bool:
        """The same at the end of the search, of one that ships.

        Args:
            record: What ships, alone or with others.
            kept: Whether it is the winner, for which time was kept where it takes little.
        """
        left, needed = (math.inf if self.refit else self.left()), self._refit(record)
        # What time was kept for may begin a little late, and end as late (`refit_ends`).
        as_planned = kept and self.refits(record, OTHERS) and left + LATE * self.seconds >= needed
        return as_planned or (self.refits(record) and left >= needed)

    def refit_ends(self) -> float:
        """When a refit that takes longer than planned, and that nobody insists on, is given up."""
        return math.inf if self.refit else max(self.ends, time.monotonic()) + LATE * self.seconds

    def _shipping(self, best: Sequence[TrialRecord], leader: int | None = None) -> float:
        """Seconds from the last confirmation run to the end of the command."""
        leader = best[0].root if best and leader is None else leader
        candidates = best[: max(1, self.search.confirm)]
        splits = self.task.splits
        passes, trained = 0.0, 0.0
        for record in candidates:
            outcome = record.outcome
            if outcome is None:
                continue
            passes = max(passes, self._pass(record, splits.test + splits.validation))
            share = REFITTED if record.root == leader else OTHERS
            needed = self._refit(record)
            # Nothing is kept for what cannot be done any more: then it ships as it was judged.
            in_time = bool(self.refit) or needed <= self.left()
            gone = len(candidates) > KEPT_MODELS  # others' weights may be
            if in_time and (self.refits(record, share) or gone):
                trained = max(trained, needed)
        if self.search.ship_as != "winner":  # several answer, to be compared
            passes += sum(self._pass(record, splits.validation) for record in best[:KEPT_MODELS])
            if self.refit:  # of each network that ships
                each = sorted((self._refit(record) for record in best[:KEPT_MODELS]), reverse=True)
                trained = max(trained, sum(each[: NETWORKS[self.search.ship_as]]))
        return SHIPPING + passes + trained

    def _refit(self, record: TrialRecord) -> float:
        """Seconds that training on validation images as well is expected to take, to the kept epoch."""
        splits = self.task.splits
        seconds = _to_the_kept_epoch(record, self.task.metric)
        return seconds * (1.0 + splits.validation / max(1, splits.train))

    def _pass(self, record: TrialRecord, images: int) -> float:
        """Seconds to judge so many images, under attack where the metric asks for that."""
        if record.outcome is None:
            return 0.0
        attack = attack_of(self.task.metric)
        looks = 1 if attack is None else 1 + ATTACKED * attack.steps
        return looks * record.outcome.predict_ms_per_image / 1000.0 * images


def _to_the_kept_epoch(record: TrialRecord, metric: Metric) -> float:
    """Seconds of a trial up to the epoch that it kept; what comes before the first one is not told apart."""
    trained = record.epochs[-1].epoch if record.epochs else 0
    share = ranked_epoch(record, metric).epoch / trained if trained else 1.0
    return record.train_seconds * max(share, 0.1)
