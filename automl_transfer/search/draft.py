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

from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import source_traits
from automl_transfer.space.space import Space
from automl_transfer.space.suggest import in_space, suggest
from automl_transfer.store.creating import as_begun
from automl_transfer.store.optuna_names import contains
from automl_transfer.store.sampling import SamplingView
from automl_transfer.store.values import TrialDraft


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

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        distribution = as_begun(self._known.get(name), distribution)
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

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._suggest(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return int(self._suggest(name, IntDistribution(low, high)))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._suggest(name, FloatDistribution(low, high, log=log)))


def draw(view: SamplingView, sampler: BaseSampler, space: Space) -> TrialDraft:
    """A new strategy from the sampler, with the parameters and distributions of its trial."""
    study, trial = view.draft(sampler)
    draft = _Draft(study, trial, sampler, view.distributions)
    strategy = suggest(draft, space, source_traits)
    # A choice that cannot be stands in the strategy as what it is there: so the sampler learns it.
    params = in_space(strategy, space, source_traits)
    return TrialDraft(strategy, params, {name: draft.distributions[name] for name in params})


def fixed_draft(strategy: Strategy, space: Space, label: str) -> TrialDraft:
    """The draft of a given strategy: its values where they lie in the space."""
    params = in_space(strategy, space, source_traits)
    ranged = {dimension.name: dimension for dimension in space.searched}
    distributions: dict[str, BaseDistribution] = {}
    for name in params:
        dimension = ranged[name]
        if dimension.kind == "categorical":
            distributions[name] = CategoricalDistribution(dimension.choices)
        elif dimension.kind == "int":
            distributions[name] = IntDistribution(int(dimension.low), int(dimension.high))
        else:
            distributions[name] = FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return TrialDraft(strategy.canonical(), params, distributions, label)
