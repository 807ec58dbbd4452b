"""A search on a simulated clock: the project's own sampler, pruner and order of work over recorded curves.

A strategy that is drawn is answered by the nearest recorded one. Not simulated: seconds that a draw takes (some
hundredths), caches that trials share, and confirmation.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from cost import cost_of
from memory_study import MemoryHistory
from near import Nearest
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
from orders import ORDERS, At
from stored import Cell, TaskTable

from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.spec import SearchSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.first import RUN_TO_THE_END
from automl_transfer.search.proposals import Proposals
from automl_transfer.search.samplers import make_pruner, make_sampler, worker_seed
from automl_transfer.search.warm import Warm
from automl_transfer.space.space import Space
from automl_transfer.store.spent import Spent
from automl_transfer.store.values import TrialDraft

LABELS = {"profile": "profile", "larger": "profile, larger images", "views": "profile, augmented views",
          "tuned": "profile, tuned", "finetuned": "fine-tuned whole", "default": "default"}  # fmt: skip
"""What the search calls the first answers that the table names."""


@dataclass(frozen=True)
class Arm:
    """A way to search.

    Attributes:
        sampler, pruner: Of the project, by name.
        order: A line of `orders.ORDERS`.
        first: Whether it begins with the first answers.
        make: A sampler that the project does not have, instead.
        by_seconds: With `cost`, whether draws are chosen by improvement a second, or by improvement alone.
        settings: Of the study's `[search]` table.
        constants: Of `search.prior`.
        warm: What earlier tasks propose to a replay; None for a cold start.
    """

    sampler: str = "prior"
    pruner: str = "none"
    order: str = "none"
    first: bool = True
    make: Callable[[int], BaseSampler] | None = None
    by_seconds: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    warm: Callable[[Replay], Warm] | None = None

    def spec(self, horizon: dict[str, Any], seed: int) -> SearchSpec:
        """As a study would have it."""
        given = {
            "sampler": self.sampler,
            "pruner": self.pruner,
            "max_epochs": horizon["epochs"],
            "seed": seed,
        }
        return SearchSpec.model_validate({**given, **self.settings})

    def samplers(self, spec: SearchSpec, workers: int, warm: Warm | None) -> list[BaseSampler]:
        """One a worker, seeded as workers do."""
        seeds = [worker_seed(spec.seed, 0, index) for index in range(workers)]
        if self.make is not None:
            return [self.make(seed) for seed in seeds]
        recipes = warm.recipes if warm is not None else (lambda trials: [])
        return [make_sampler(spec, seed, recipes) for seed in seeds]


@dataclass(frozen=True)
class Incumbent:
    """The best complete trial from `seconds` on, as validation sees it, and what it has on test."""

    seconds: float
    validation: float
    nll: float
    test: float


@dataclass
class Outcome:
    """What a replay came to.

    Attributes:
        begun: When each trial began.
        distances: How far each drawn strategy was from the one that stood for it.
        lost: Seconds of trials that did not come to their end.
    """

    incumbents: list[Incumbent] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    trials: int = 0
    complete: int = 0
    distances: list[float] = field(default_factory=list)
    spent: float = 0.0
    lost: float = 0.0


@dataclass
class _Trial:
    number: int
    strategy: Strategy
    cell: Cell
    label: str = ""
    done: int = 0
    spent: float = 0.0

    @property
    def closed(self) -> bool:
        return self.cell.strategy.tune_mode == CLOSED_FORM

    @property
    def finished(self) -> bool:
        return self.done == len(self.cell.seconds)

    @property
    def epoch(self) -> int:
        """The last one that is done."""
        return 0 if self.closed else self.done

    def best(self) -> int:
        """Of the epochs that are done, as a search takes it."""
        order = [(self.cell.validation[e], -self.cell.nll[e], -e) for e in range(self.done)]
        return -max(order)[2]


class Replay:
    """One search.

    Args:
        table: The task.
        arm: How to search.
        space: Of the study; suited to the task here.
        seed: Of samplers, and of which repetition of a strategy is met.
        workers: Processes at once.
        budget: Simulated seconds.
        enough: Says of an incumbent that the search may end with it, as it does where nothing that it can meet
            is better; None where it goes on to its budget.
    """

    def __init__(
        self, table: TaskTable, arm: Arm, space: Space, *, seed: int, workers: int = 1, budget: float,
        enough: Callable[[Incumbent], bool] | None = None,
    ) -> None:  # fmt: skip
        self.table, self.arm, self.workers, self.budget = table, arm, workers, budget
        self.spec = arm.spec(dict(table.facts["horizon"]), seed)
        self.space = space
        self.cells = repetitions(table, seed)
        self.enough = enough
        self._best = max((max(cell.validation) for cell in self.cells if not cell.failed), default=math.inf)
        self.nearest = Nearest([cell.strategy for cell in self.cells])
        self.history = MemoryHistory(f"{table.name}-{seed}")
        self.warm = arm.warm(self) if arm.warm is not None else None
        self._spent: list[Spent] = []
        history: Any = self.history
        self.proposals = [
            Proposals(
                history, sampler, space, self.spec, lambda: cost_of(table), self._news(),
                by_seconds=arm.by_seconds,
            )
            for sampler in arm.samplers(self.spec, workers, self.warm)
        ]  # fmt: skip
        self.pruner: BasePruner = make_pruner(self.spec)
        self.order = ORDERS[arm.order](self.spec, budget)
        self.trials: dict[int, _Trial] = {}
        self.outcome = Outcome()
        self._met: set[int] = set()
        self._waiting: list[TrialDraft] = []
        self._rest_is_due = arm.first
        self._now = 0.0

    def run(self) -> Outcome:
        """Search until the time is up."""
        began = 0.0
        if self.arm.first:
            began = float(self.table.facts["answer_seconds"]["profile"])
            self._waiting = [self._first("profile")]
        busy: list[_Trial | None] = [None] * self.workers
        events = [(began, worker) for worker in range(self.workers)]
        heapq.heapify(events)
        while events:
            self._now, worker = heapq.heappop(events)
            if self._now > self.budget:
                break
            trial = busy[worker]
            if trial is not None:
                self._end_epoch(trial)
                if trial.number in self.trials and not self._is_over(trial):
                    heapq.heappush(events, (self._now + trial.cell.seconds[trial.done], worker))
                    continue
                if self._is_enough():
                    break
            busy[worker] = None
            if worker == 0 and self._rest_is_due and trial is not None:
                # The process that profiles looks closer before it goes on.
                self._rest_is_due = False
                last = {"default"} if self.warm is not None and self.warm.proposes else set()
                names = [name for name in self.table.answers if name not in {"profile", *last}]
                self._waiting += [self._first(name) for name in names]
                heapq.heappush(events, (self._now + float(self.table.facts["answer_seconds"]["rest"]), 0))
                continue
            busy[worker] = begun = self._next(worker)
            if begun is None:
                if worker == 0 or any(busy):
                    heapq.heappush(events, (self._now + self.budget / 200, worker))
                continue
            seconds = (begun.cell.seconds or (0.0,))[begun.done]
            prepared = begun.cell.prepared if begun.done == 0 else 0.0
            begun.spent += prepared
            heapq.heappush(events, (self._now + prepared + seconds, worker))
        self.outcome.spent = math.fsum(trial.spent for trial in self.trials.values())
        self.outcome.lost = self.outcome.spent - math.fsum(
            trial.spent for trial in self.trials.values() if trial.finished
        )
        return self.outcome

    def _is_enough(self) -> bool:
        if self.enough is None or not self.outcome.incumbents:
            return False
        last = self.outcome.incumbents[-1]
        return self.enough(last) or last.validation >= self._best

    def _first(self, answer: str) -> TrialDraft:
        return fixed_draft(self.table.answers[answer], self.space, LABELS[answer])

    def _next(self, worker: int) -> _Trial | None:
        """As `workers.worker` has it: what waits, a paused trial, a new one."""
        left = self.budget - self._now
        if self._waiting:
            return self._begin(self._waiting.pop(0))
        number = self.order.next(left)
        if number is None and self.order.is_too_late(left):
            number = self.order.last(left)
            if number is None:
                return None
        if number is None and self.warm is not None:
            fits = partial(self.proposals[worker].fits, left=left)
            if (offer := self.warm.next(self.history.trials(), fits)) is not None:
                return self._begin(offer.draft)
        proposal = None if number is not None else self.proposals[worker].next(left)
        if proposal is not None and not proposal.fits:
            number = self.order.last(left, any_=True)
            if number is None and self.outcome.complete:
                return None
        if number is not None:
            self.history.tell(number, TrialState.RUNNING, None)
            return self.trials[number]
        assert proposal is not None
        return self._begin(proposal.draft)

    def _news(self) -> Callable[[], Iterable[Spent]]:
        seen = 0

        def news() -> Iterable[Spent]:
            nonlocal seen
            found, seen = self._spent[seen:], len(self._spent)
            return found

        return news

    def _begin(self, draft: TrialDraft) -> _Trial:
        at, distance = self.nearest.find(draft.strategy, self._met)
        self._met.add(at)
        number = self.history.create(draft)
        trial = self.trials[number] = _Trial(number, draft.strategy, self.cells[at], draft.label)
        self.outcome.trials += 1
        self.outcome.begun.append(self._now)
        self.outcome.distances.append(distance)
        return trial

    def _end_epoch(self, trial: _Trial) -> None:
        if trial.done < len(trial.cell.seconds):
            trial.spent += trial.cell.seconds[trial.done]
            trial.done += 1
            self.history.report(trial.number, trial.epoch, trial.cell.validation[trial.done - 1])

    def _is_over(self, trial: _Trial) -> bool:
        """Whether a trial ends or pauses after the epoch that it just had; then draws learn what it took."""
        if not self._ends(trial):
            return False
        if trial.finished and trial.cell.failed:  # nothing is learnt from a failure
            return True
        value, trained = trial.cell.validation[trial.best()], trial.epoch
        spent = math.fsum(trial.cell.seconds[:trained])
        self._spent.append(Spent(trial.number, trial.strategy, value, trained, trial.spent, spent))
        return True

    def _ends(self, trial: _Trial) -> bool:
        cell = trial.cell
        if trial.finished:
            if cell.failed:
                self.history.tell(trial.number, TrialState.FAIL, None)
                return True
            best = trial.best()
            self.history.tell(trial.number, TrialState.COMPLETE, cell.validation[best])
            self.outcome.complete += 1
            self._note(cell.validation[best], cell.nll[best], cell.test[best])
            return True
        stops = self.history.should_prune(self.pruner, trial.number)  # it notes rungs when it is asked
        always = trial.label in RUN_TO_THE_END
        if stops and not always:
            self.history.tell(trial.number, TrialState.PRUNED, cell.validation[trial.done - 1])
            return True
        best = trial.best()
        at = At(
            trial.number, trial.strategy, trial.epoch, cell.validation[best], cell.nll[best], trial.spent,
            trial.label, always,
        )  # fmt: skip
        if self.order.pauses(at):
            self.history.tell(trial.number, TrialState.PRUNED, at.value)
            return True
        return False

    def _note(self, validation: float, nll: float, test: float) -> None:
        known = self.outcome.incumbents
        if not known or (validation, -nll) > (known[-1].validation, -known[-1].nll):
            known.append(Incumbent(self._now, validation, nll, test))


def repetitions(table: TaskTable, seed: int) -> list[Cell]:
    """Of every recorded strategy one cell; which of its repetitions depends on the seed."""
    found: dict[str, list[Cell]] = {}
    for cell in table.cells:
        found.setdefault(cell.key[0], []).append(cell)
    generator = np.random.default_rng([seed, 20])
    return [cells[int(generator.integers(len(cells)))] for cells in found.values()]


def horizon_seconds(table: TaskTable) -> float:
    """Median CPU seconds of a strategy that trains to its end."""
    spent = [cell.spent for cell in table.cells if cell.strategy.tune_mode != CLOSED_FORM and not cell.failed]
    return float(np.median(spent)) if spent else math.nan


def at_time(incumbents: list[Incumbent], seconds: float) -> Incumbent | None:
    """The incumbent at a time; None before the first one."""
    found = None
    for one in incumbents:
        if one.seconds > seconds:
            break
        found = one
    return found


def seconds_until(incumbents: list[Incumbent], reached: Callable[[Incumbent], bool]) -> float:
    """When an incumbent was first good enough; infinity where none was."""
    return next((one.seconds for one in incumbents if reached(one)), math.inf)
