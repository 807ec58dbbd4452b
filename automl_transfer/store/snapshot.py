"""A study in memory, as samplers and pruners ask for it through Optuna's storage interface."""

# ruff: noqa: D102  (what Optuna's storages do is said there)

from __future__ import annotations

import copy
from collections.abc import Container, Set
from typing import Any, NoReturn

import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from automl_transfer.store import tables as t
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

BEST = 50
"""Complete trials that stay in the window: twice as many as TPE takes for the good ones, at most."""
DRAFT_ID = -1
"""Trial id of the draft that is being sampled; nothing in the store has it."""


def _direction(store: Store, study: StudyHandle) -> StudyDirection:
    query = sa.select(t.directions.c.direction).where(t.directions.c.study_id == study.study_id)
    return store.read(lambda c: c.execute(query).scalars().first(), "read the study") or (
        StudyDirection.MAXIMIZE
    )


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("a sampling history only reads: write through store.trials.Trials")


def window(
    trials: list[FrozenTrial], most: int, told: Set[int] = frozenset(), *, maximise: bool = True
) -> list[FrozenTrial]:
    """Of a study's trials, by number: the newest, the best, those that no sampler drew, and the open ones.

    TPE takes at most 25 trials for the good ones, whatever their number is, so these stay the same; of the
    others, from which it keeps away, the newest stand for all.
    """
    if len(trials) <= most:
        return trials
    sign = 1.0 if maximise else -1.0
    complete = [t for t in trials if t.state is OptunaState.COMPLETE and t.value is not None]
    best = sorted(complete, key=lambda t: (-sign * (t.value or 0.0), t.number))[:BEST]
    kept = told | {t.number for t in best} | {t.number for t in trials[-most:]}
    return [t for t in trials if t.number in kept or not t.state.is_finished()]


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
        self.most: int | None = None
        self._told: set[int] = set()
        self._roots: dict[int, FrozenTrial] = {}
        self._newest: dict[int, int] = {}
        self._highest = -1
        self._shown: dict[int | None, list[FrozenTrial]] = {}

    def put(self, trial: FrozenTrial, root: int, *, told: bool = False) -> None:
        """Take in a trial as it is now; one that is `told` was not drawn by a sampler."""
        self._shown.clear()
        if told:
            self._told.add(root)
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
        self._shown.clear()
        for root, trial in self._roots.items():
            if trial._trial_id == trial_id:
                del self._roots[root], self.by_number[self._newest[root]]
                return

    def latest(self) -> list[FrozenTrial]:
        """The newest trial of every root, under its root's number; of a `window` where there is a `most`."""
        if self.most not in self._shown:
            trials = [trial for _, trial in sorted(self._roots.items())]
            self._shown[self.most] = trials if self.most is None else self._window(trials, self.most)
        return self._shown[self.most]

    def drop_old(self, most: int) -> None:
        """Forget what is outside of the window, once that is worth it."""
        if len(self._roots) > most + most // 4 + BEST:
            kept = self._window([trial for _, trial in sorted(self._roots.items())], most)
            self._roots = {trial.number: trial for trial in kept}
            numbers = {self._newest[root] for root in self._roots}
            self.by_number = {n: trial for n, trial in self.by_number.items() if n in numbers}
            self._newest = {root: n for root, n in self._newest.items() if root in self._roots}
            self._shown.clear()

    def _window(self, trials: list[FrozenTrial], most: int) -> list[FrozenTrial]:
        return window(trials, most, self._told, maximise=self.direction is StudyDirection.MAXIMIZE)

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
