"""A study in memory, as samplers and pruners ask for it through Optuna's storage interface."""

# ruff: noqa: D102  (what Optuna's storages do is said there)

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any, NoReturn

import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from automl_transfer.store import tables as t
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

DRAFT_ID = -1
"""Trial id of the draft that is being sampled; nothing in the store has it."""


def _direction(store: Store, study: StudyHandle) -> StudyDirection:
    query = sa.select(t.directions.c.direction).where(t.directions.c.study_id == study.study_id)
    return store.read(lambda c: c.execute(query).scalars().first(), "read the study") or (
        StudyDirection.MAXIMIZE
    )


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("a sampling history only reads: write through store.trials.Trials")


class ReadOnlyStorage(BaseStorage):
    """The part of Optuna's storage interface that samplers and pruners use, for one study without attributes.

    Whoever derives from it says what the study and its trials are.
    """

    def latest(self) -> list[FrozenTrial]:
        """The trials."""
        raise NotImplementedError

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        found = [trial for trial in self.latest() if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    get_all_studies = _refuse
    create_new_study = _refuse
    create_new_trial = _refuse
    delete_study = _refuse
    set_study_system_attr = _refuse
    set_study_user_attr = _refuse
    set_trial_intermediate_value = _refuse
    set_trial_param = _refuse
    set_trial_state_values = _refuse
    set_trial_user_attr = _refuse


class Snapshot(ReadOnlyStorage):
    """A study of the store, as it was when it was read last."""

    def __init__(self, store: Store, study: StudyHandle) -> None:
        self.store = store
        self.study = study
        self.direction = _direction(store, study)
        self.by_number: dict[int, FrozenTrial] = {}
        self.draft: FrozenTrial | None = None
        self._roots: dict[int, FrozenTrial] = {}
        self._newest: dict[int, int] = {}
        self._highest = -1

    def put(self, trial: FrozenTrial, root: int) -> None:
        """Take in a trial as it is now."""
        self.by_number[trial.number] = trial
        if trial.number >= self._newest.get(root, -1):
            self._newest[root] = trial.number
            self._roots[root] = trial
            if trial.number != root:
                self._roots[root] = copy.copy(trial)
                self._roots[root].number = root

    def count(self, number: Any) -> None:
        """Note a number that is used, though its trial may be left out."""
        if type(number) is int:
            self._highest = max(self._highest, number)

    def forget(self, trial_id: int) -> None:
        """Take out a trial that was sound before; its number stays used."""
        for root, trial in self._roots.items():
            if trial._trial_id == trial_id:
                del self._roots[root], self.by_number[self._newest[root]]
                return

    def latest(self) -> list[FrozenTrial]:
        """The newest trial of every root, under its root's number."""
        return [trial for _, trial in sorted(self._roots.items())]

    def find(self, trial_id: int) -> FrozenTrial | None:
        """A root's newest trial by its id, or None."""
        return next((trial for trial in self._roots.values() if trial._trial_id == trial_id), None)

    def next_number(self) -> int:
        return self._highest + 1

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.study.study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        return self.study.name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [self.direction]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = self.draft if trial_id == DRAFT_ID else self.find(trial_id)
        if trial is None:
            raise KeyError(f"no trial with id {trial_id} among these")
        return trial

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """A sampler's note about its draft is kept; a pruner's note about a running trial is written."""
        trial = self.get_trial(trial_id)
        if trial_id == DRAFT_ID:
            trial._system_attrs[key] = value
            return
        self.store.optuna_storage.set_trial_system_attr(trial_id, key, value)
        # A pruner adds the trial's own value to those of the list it was given before: the trials in that
        # list must stay what they were, or the trial counts twice.
        noted = copy.copy(trial)
        noted._system_attrs = {**trial._system_attrs, key: value}
        self._roots[trial.number] = noted
