"""Draws a strategy from the sampler before its trial exists, so that a trial is created whole.

`Study.ask` creates an empty trial and writes one parameter per commit: a worker that dies between
leaves half a trial behind, and every commit costs. Here the sampler is asked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from automl_transfer.domain.dimensions import Dimension
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import source_traits
from automl_transfer.space.space import Space
from automl_transfer.space.suggest import in_space, suggest
from automl_transfer.store.creating import as_begun
from automl_transfer.store.optuna_names import contains
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.values import TrialDraft

TRIES = 8
"""Draws before a strategy that was tried already, or is being tried by another worker, is taken again."""


class _Draft:
    """Stands in for an Optuna trial while its parameters are drawn."""

    def __init__(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        sampler: BaseSampler,
        known: Mapping[str, BaseDistribution],
    ) -> None:
        self._known = known
        self._study = study
        self._sampler = sampler
        self._trial = trial
        sampler.before_trial(study, trial)
        relative = sampler.infer_relative_search_space(study, trial)
        self._relative = sampler.sample_relative(study, trial, relative)

    @property
    def params(self) -> dict[str, Any]:
        return self._trial.params

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return self._trial.distributions

    def ask(self, dimension: Dimension) -> Any:
        """The value that the sampler gives a dimension."""
        name = dimension.name
        distribution = as_begun(self._known.get(name), _distribution(dimension))
        if distribution.single():
            low = getattr(distribution, "low", None)
            value = low if low is not None else getattr(distribution, "choices", (None,))[0]
        elif name in self._relative and contains(distribution, self._relative[name]):
            value = self._relative[name]
        else:
            value = self._sampler.sample_independent(self._study, self._trial, name, distribution)
        self._trial.params = {**self._trial.params, name: value}
        self._trial.distributions = {**self._trial.distributions, name: distribution}
        return value


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.kind == "categorical":
        return CategoricalDistribution(dimension.choices)
    if dimension.kind == "int":
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def draw(history: SamplerHistory, sampler: BaseSampler, space: Space) -> TrialDraft:
    """A new strategy from the sampler, with the parameters and distributions of its trial."""
    for _ in range(TRIES):
        study, trial = history.draft(sampler)
        others = (each for each in study.get_trials(deepcopy=False) if each.number != trial.number)
        before = [each.params for each in others]
        draft = _Draft(study, trial, sampler, history.distributions)
        strategy = suggest(draft.ask, space, source_traits)
        # A choice that cannot be stands in the strategy as what it is there: so the sampler learns it.
        params = in_space(strategy, space, source_traits)
        if params not in before:
            break
    return TrialDraft(strategy, params, {name: draft.distributions[name] for name in params})


def fixed_draft(strategy: Strategy, space: Space, label: str) -> TrialDraft:
    """The draft of a given strategy: its values where they lie in the space."""
    params = in_space(strategy, space, source_traits)
    distributions = {each.name: _distribution(each) for each in space.searched if each.name in params}
    return TrialDraft(strategy.canonical(), params, distributions, label)
