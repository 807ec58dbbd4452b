"""A warm start at work: proposals of earlier tasks are handed out one by one, while they help."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from automl_transfer.domain.stored_strategy import read_strategy
from automl_transfer.domain.strategy import DIMENSIONS, Strategy, is_active
from automl_transfer.domain.warm import WarmStart, verdict
from automl_transfer.errors import UnreadableRowError
from automl_transfer.knowledge.portfolio import OF_PROFILE
from automl_transfer.models.registry import source_traits
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.promotion import PROPOSED
from automl_transfer.space.space import Space
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle, TrialDraft
from automl_transfer.store.warm import DEFAULT_KEY, DEFAULT_LABEL, first_answers, read_warm_start

KEY = "warm:"

Values = Mapping[str, Any]


def admits(space: Space, strategy: Strategy, solved: Values) -> bool:
    """Whether a strategy lies in a study's space: each of its values that has an effect.

    What the profile chose (`solved`) may lie outside of it, as in the first answers.
    """
    values = strategy.model_dump(mode="json")
    ranged = {dimension.name: dimension for dimension in space.searched}
    for name, value in values.items():
        if not is_active(name, values) or (name in OF_PROFILE and solved.get(name) == value):
            continue
        dimension = ranged.get(name)
        if dimension is None:
            if value != space.fixed[name]:
                return False
        elif dimension.kind == "categorical":
            if value not in dimension.choices:
                return False
        elif not dimension.low <= value <= dimension.high:
            return False
    return _can_take(strategy)


def _can_take(strategy: Strategy) -> bool:
    """Whether the strategy's source has what its values need."""
    if not strategy.pretrained:
        return True
    active, traits = strategy.active(), source_traits(strategy.source)
    return not any(DIMENSIONS[name].lacks(value, traits) for name, value in active.items())


@dataclass(frozen=True)
class Offer:
    """A proposal that is due; `key` makes it one trial, whoever enqueues it."""

    key: str
    draft: TrialDraft


class Warm:
    """What earlier tasks propose to a study, as one worker sees it.

    Args:
        read: The study's start, as it was noted; None while that is not known. Asked until it is.
        space: The study's space, suited to its task.
        first_rung: Epochs to the first rung.
        first: Numbers of the trials that are first answers, as soon as `read` knows the start.
        images: That validate.
    """

    def __init__(
        self,
        read: Callable[[], WarmStart | None],
        space: Space,
        first_rung: int,
        first: Callable[[], frozenset[int]],
        images: int,
    ) -> None:
        self._read = read
        self._space = space
        self._rung = first_rung
        self._first_answers = first
        self._images = images
        self._begun: WarmStart | None = None
        self._drafts: dict[str, TrialDraft] = {}
        self._afterwards: TrialDraft | None = None
        self._offered: set[str] = set()

    @classmethod
    def of_study(cls, store: Store, study: StudyHandle, space: Space) -> Warm:
        """Of a study in a store. One that is cold now has what comes after proposals, and none of these."""

        def read() -> WarmStart | None:
            begun = read_warm_start(store, study)
            if begun is None or study.spec.search.start == "warm":
                return begun
            return begun.model_copy(update={"proposals": ()})

        return cls(
            read,
            space,
            study.spec.search.first_rung,
            functools.cache(lambda: frozenset(first_answers(store, study))),
            study.task.splits.validation,
        )

    @property
    def proposes(self) -> bool:
        """Whether earlier tasks propose anything."""
        self._look()
        return bool(self._drafts)

    @property
    def is_open(self) -> bool:
        """Whether something may still be offered."""
        self._look()
        return len(self._offered) < len(self._drafts) + (self._afterwards is not None)

    def next(
        self,
        trials: Sequence[FrozenTrial],
        fits: Callable[[Strategy], bool] = lambda strategy: True,
    ) -> Offer | None:
        """The next proposal, unless those before it came to harm, and at last the default; None after that.

        The same one is offered once. Those that do not fit are passed over, and may be offered later: what a
        training takes is told better then.

        Args:
            trials: Of the study, each strategy once.
            fits: Whether there is time for a strategy.
        """
        self._look()
        there = [trial.params for trial in trials]
        due = [Offer(key, draft) for key, draft in self._drafts.items()] if self._helps(trials) else []
        if self._afterwards is not None:
            due.append(Offer(DEFAULT_KEY, self._afterwards))
        for offer in due:
            if offer.key in self._offered:
                continue
            is_there = offer.draft.params in there
            if not is_there and not fits(offer.draft.strategy):
                continue
            self._offered.add(offer.key)
            if not is_there:
                return offer
        return None

    def recipes(self, trials: Sequence[FrozenTrial]) -> list[Values]:
        """Where draws may begin: the proposals, while they help; none after they came to harm.

        What was noted is looked up where the next one is asked for, before any draw.
        """
        return [draft.params for draft in self._drafts.values()] if self._helps(trials) else []

    def _helps(self, trials: Sequence[FrozenTrial]) -> bool:
        if not self._drafts:
            return False
        mine, first = [draft.params for draft in self._drafts.values()], self._first_answers()
        proposed = [t.intermediate_values for t in trials if t.params in mine and t.number not in first]
        default = None if self._afterwards is None else self._afterwards.params
        cold = [t.intermediate_values for t in trials if t.number in first or t.params == default]
        return verdict(proposed, cold, self._rung, self._images) != "harms"

    def _look(self) -> None:
        if self._begun is not None or (begun := self._read()) is None:
            return
        self._begun = begun
        for number, proposal in enumerate(begun.proposals, start=1):
            if (draft := self._draft(proposal.strategy, f"{PROPOSED} {number}")) is not None:
                # By its place among all that are noted: another version of the program may read others.
                self._drafts[f"{KEY}{number - 1}"] = draft
        self._afterwards = self._draft(begun.afterwards, DEFAULT_LABEL) if begun.afterwards else None

    def _draft(self, stored: str, label: str) -> TrialDraft | None:
        try:
            return fixed_draft(read_strategy(stored), self._space, label)
        except UnreadableRowError:  # a newer program noted it; the others are as good as they were
            return None


def claim_proposal(
    warm: Warm,
    trials: Trials,
    history: SamplerHistory,
    worker: str,
    fits: Callable[[Strategy], bool] = lambda strategy: True,
) -> Claim | None:
    """Take the next proposal on as a trial, which exactly one worker does; None: a new strategy is due.

    Those that do not fit into the time that is left are passed over, until they do.
    """
    study = history.handle
    while warm.is_open and (offer := warm.next(history.trials(), fits)) is not None:
        trials.enqueue(study, offer.draft, once=offer.key, limit=study.spec.search.trials, distinct=True)
        if (claim := trials.claim(study, worker)) is not None:
            return claim
    return None
