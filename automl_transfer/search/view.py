"""What samplers and pruners see of a study: each root's latest trial, and no way to change a trial.

A strategy that crashed and was continued is several trials of one root. To a sampler they are one
observation, and to Hyperband (whose bracket follows from the number) one competitor.
"""

# ruff: noqa: D102  (the methods are those of BaseStorage)

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any, NoReturn

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

DRAFT_ID = -1
"""Key of the trial that is being drafted: it exists nowhere yet."""


class SamplingView(BaseStorage):
    """A reading view of one study over the shared storage.

    Reads pass through. Notes that samplers leave on the draft are dropped: its parameters become
    visible to others when it is created, whole, in one commit. Notes that pruners leave on
    running trials (rungs) are written. Everything else is refused.
    """

    def __init__(self, storage: BaseStorage, study_id: int, name: str) -> None:
        self._storage = storage
        self._study_id = study_id
        self._name = name
        self._directions = storage.get_study_directions(study_id)

    def study(
        self, sampler: optuna.samplers.BaseSampler | None, pruner: optuna.pruners.BasePruner | None
    ) -> optuna.Study:
        """A study object over this view; make a fresh one for every draft, its cache is never renewed."""
        return optuna.Study(self._name, self, sampler=sampler, pruner=pruner)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(study_id, deepcopy=False, states=None)
        latest: dict[int, FrozenTrial] = {}
        for trial in trials:
            root = root_number(trial)
            if root not in latest or latest[root].number < trial.number:
                latest[root] = trial
        seen = [_as_root(trial, root) for root, trial in sorted(latest.items())]
        if states is not None:
            seen = [trial for trial in seen if trial.state in states]
        return copy.deepcopy(seen) if deepcopy else seen

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = self._storage.get_trial(trial_id)
        return _as_root(trial, root_number(trial))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != DRAFT_ID:
            self._storage.set_trial_system_attr(trial_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._storage.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._storage.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._storage.get_all_studies()

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(
            "trials are changed through the store, in its transactions, and never through this view"
        )

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        self._refuse()

    def delete_study(self, study_id: int) -> None:
        self._refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._refuse()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._refuse()

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        self._refuse()

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._refuse()


def root_number(trial: FrozenTrial) -> int:
    """Number of the first trial of the same strategy."""
    note = trial.user_attrs.get("automl_transfer")
    root = note.get("root") if isinstance(note, dict) else None
    return root if isinstance(root, int) else trial.number


def _as_root(trial: FrozenTrial, root: int) -> FrozenTrial:
    if trial.number == root:
        return trial
    renumbered = copy.copy(trial)
    renumbered.number = root
    return renumbered
