"""A study in memory, as the project's samplers, pruners and `search.draft.draw` see the one in the store."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from automl_transfer.store.snapshot import DRAFT_ID, ReadOnlyStorage
from automl_transfer.store.values import TrialDraft

BEGAN = datetime(2026, 1, 1)


class Memory(ReadOnlyStorage):
    """What samplers and pruners ask a storage for. A trial's id is its number."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.trials: list[FrozenTrial] = []
        self.draft: FrozenTrial | None = None
        self.known: dict[str, BaseDistribution] = {}

    def change(self, number: int, **changes: Any) -> None:
        """A trial's new state. Those that were given out stay what they were."""
        changed = copy.copy(self.trials[number])
        for name, value in changes.items():
            setattr(changed, name, value)
        self.trials[number] = changed

    def get_study_id_from_name(self, study_name: str) -> int:
        return 0

    def get_study_name_from_id(self, study_id: int) -> str:
        return self.name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [StudyDirection.MAXIMIZE]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id == DRAFT_ID and self.draft is not None:
            return self.draft
        return self.trials[trial_id]

    def latest(self) -> list[FrozenTrial]:
        return self.trials

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id == DRAFT_ID and self.draft is not None:
            self.draft._system_attrs[key] = value
        else:
            self.change(trial_id, _system_attrs={**self.trials[trial_id]._system_attrs, key: value})


class MemoryHistory:
    """What `search.draft.draw` needs of a study, and what a replay writes into it."""

    def __init__(self, name: str) -> None:
        self._memory = Memory(name)

    def draft(self, sampler: BaseSampler) -> tuple[Study, FrozenTrial]:
        """The study as it is now, and a blank trial of the next number."""
        self._memory.draft = self._blank(len(self._memory.trials), DRAFT_ID)
        return self._study(sampler=sampler), self._memory.draft

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        return self._memory.known

    def trials(self) -> list[FrozenTrial]:
        """All of them."""
        return self._memory.latest()

    def create(self, draft: TrialDraft) -> int:
        """A running trial of this draft; its number."""
        trial = self._blank(number := len(self._memory.trials), len(self._memory.trials))
        trial.params, trial.distributions = dict(draft.params), dict(draft.distributions)
        self._memory.known.update(trial.distributions)
        self._memory.trials.append(trial)
        return number

    def report(self, number: int, epoch: int, value: float) -> None:
        """What a running trial has after an epoch."""
        curve = {**self._memory.trials[number].intermediate_values, epoch: value}
        self._memory.change(number, intermediate_values=curve)

    def tell(self, number: int, state: TrialState, value: float | None) -> None:
        """A trial's end or pause (PRUNED, with what it had), or that it runs again."""
        self._memory.change(number, state=state, value=value)

    def should_prune(self, pruner: BasePruner, number: int) -> bool:
        """Whether the pruner would stop a trial."""
        return bool(pruner.prune(self._study(pruner=pruner), self._memory.trials[number]))

    def _study(self, **parts: Any) -> Study:
        return optuna.load_study(study_name=self._memory.name, storage=self._memory, **parts)

    @staticmethod
    def _blank(number: int, trial_id: int) -> FrozenTrial:
        return FrozenTrial(
            number=number, state=TrialState.RUNNING, value=None, datetime_start=BEGAN, datetime_complete=None,
            params={}, distributions={}, user_attrs={}, system_attrs={}, intermediate_values={},
            trial_id=trial_id,
        )  # fmt: skip
