"""A sampler that begins where the first answers ended: around the best strategies, and around known recipes.

Few strategies can be trained, and most that are drawn at random are bad: TPE learns that only after as many
as a search has. Here a draw copies a strategy that is good already and changes some of its dimensions, more
of them and further the longer nothing better is found. Recipes stand beside the trials, as a prior whose
weight decays as beta / (beta + n) (Hvarfner et al. 2022, piBO, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from automl_transfer.domain.dimensions import SOLVED
from automl_transfer.domain.strategy import DIMENSIONS
from automl_transfer.knowledge.portfolio import OF_PROFILE
from automl_transfer.search.answers import JUDGED_LARGER
from automl_transfer.search.portfolio import PORTFOLIO
from automl_transfer.store.optuna_names import contains

AT_RANDOM = 0.1
"""Share of draws that nothing guides, always."""
BETA = 12.0
"""Trials that ran to the first rung after which the prior has half of the draws, and TPE the other half."""
LEAST = 8
"""Such trials before TPE is asked at all."""
RECIPES = 0.3
"""Share of the prior's draws that begin at a recipe; the others begin at one of the best trials."""
BEST = 4
"""So many of the best; each next one half as often."""
CHANGED, SPREAD = 0.25, 0.1
"""Probability that a dimension changes, and the spread of a change over its range, where the best is new."""
WIDER, MOST = 1.12, 3.0
"""Both grow by this factor with each trial since the best one, up to so many times."""

Values = Mapping[str, Any]
Recipes = Callable[[Sequence[FrozenTrial]], list[Values]]


class PriorSampler(BaseSampler):
    """Draws around good strategies; with the trials that there are, more and more by another sampler.

    Args:
        learner: Who draws the rest, once there are trials to learn from.
        seed: Of everything that is drawn.
        first_rung: Epochs that a trial must have run to teach anything.
        recipes: What earlier tasks propose besides the recipes that are the same for all, given the study's
            trials; none where that does not help.
    """

    def __init__(
        self, learner: BaseSampler, seed: int, first_rung: int, recipes: Recipes = lambda trials: []
    ) -> None:
        self._learner = learner
        self._proposed = recipes
        self._random = np.random.default_rng([seed, 7])
        self._evenly = RandomSampler(seed=seed)
        self._first_rung = first_rung
        self._guide: BaseSampler | None = None
        self._start: Values = {}
        self._others: tuple[Values, ...] = ()
        self._found: Values = {}
        self._width = 1.0

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Decide what guides this draw."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        # A solved head is judged once, at epoch 0, and has nothing to say of training.
        trained = [t for t in done if max(t.intermediate_values, default=-1) >= self._first_rung]
        prior = BETA / (BETA + len(trained))
        drawn = float(self._random.random())
        if drawn < AT_RANDOM:
            self._guide = self._evenly
        elif len(trained) >= LEAST and drawn > AT_RANDOM + (1.0 - AT_RANDOM) * prior:
            self._guide = self._learner
            self._learner.before_trial(study, trial)
        else:
            self._guide = None
            self._begin(done, study)

    def _begin(self, done: list[FrozenTrial], study: Study) -> None:
        best = sorted((t for t in done if t.value is not None), key=lambda t: (-(t.value or 0.0), t.number))
        since = sum(t.number > best[0].number for t in done) if best else 0
        self._width = min(MOST, WIDER**since)
        tried = study.get_trials(deepcopy=False)
        proposed = self._proposed(tried)
        if proposed:
            known = [t.params for t in tried]
            proposed = [each for each in proposed if each not in known]
        # Recipes that crop do so at the sides at which the best one of the trials that crop does.
        crops = next((t.params for t in best if t.params.get("crop", 1.0) < 1.0), {})
        sides = {name: crops[name] for name in JUDGED_LARGER if name in crops}
        laid = [{**each, **sides} if each.get("crop", 1.0) < 1.0 else each for each in PORTFOLIO.values()]
        recipes = [*proposed, *laid]
        # What the start says nothing of is as the best trial that says something has it, or a recipe. What
        # a profile finds is as the best solved head has it; a start at such a head trains as one that did.
        self._found = next((t.params for t in best if _is_judged_once(t)), {})
        after = best
        if not best or self._random.random() < RECIPES:
            self._start = recipes[int(self._random.integers(len(recipes)))]
        else:
            begun = best[min(int(self._random.geometric(0.5)) - 1, BEST - 1, len(best) - 1)]
            self._start = begun.params
            if _is_judged_once(begun):
                after = sorted(
                    best, key=lambda t: t.params.get("head_init") not in SOLVED or _is_judged_once(t)
                )
        self._others = (*(t.params for t in after), *recipes)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the learner draws together."""
        return {} if self._guide is None else self._guide.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The learner's draw."""
        return {} if self._guide is None else self._guide.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The start's value, or one near it."""
        if self._guide is not None:
            return self._guide.sample_independent(study, trial, param_name, param_distribution)
        known = self._known(param_name, param_distribution)
        if known is None:
            return self._evenly.sample_independent(study, trial, param_name, param_distribution)
        if self._random.random() >= min(0.8, CHANGED * self._width):
            return known
        return self._near(known, param_distribution)

    def _known(self, name: str, distribution: BaseDistribution) -> Any:
        """What to stay at or near: the start's value, another good one's, the default; None if none fits."""
        default = {name: DIMENSIONS[name].default} if name in DIMENSIONS else {}
        found = [self._found] if name in OF_PROFILE else []
        for values in (self._start, *found, *self._others, default):
            if name in values and contains(distribution, values[name]):
                return values[name]
        return None

    def _near(self, value: Any, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            others = [choice for choice in distribution.choices if choice != value]
            return others[int(self._random.integers(len(others)))] if others else value
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        log, bounds = distribution.log, (distribution.low, distribution.high, value)
        low, high, at = (math.log(bound) if log else float(bound) for bound in bounds)
        moved = at + self._width * SPREAD * (high - low) * float(self._random.normal())
        # Reflected at the bounds: cut off there, half of all moves from a value at a bound would be none.
        moved = high - abs(high - (low + abs(moved - low)))
        found = math.exp(max(low, moved)) if log else max(low, moved)
        if isinstance(distribution, FloatDistribution):
            return min(distribution.high, max(distribution.low, found))
        whole = round(found)
        if whole == value:
            inside = distribution.low < value < distribution.high
            upward = found >= value if inside else value == distribution.low
            whole = value + (1 if upward else -1)
        return int(min(distribution.high, max(distribution.low, whole)))

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Nothing is kept: all that is needed is in the study."""

    def reseed_rng(self) -> None:
        """Draw otherwise from now on."""
        self._random = np.random.default_rng()
        self._evenly.reseed_rng()
        self._learner.reseed_rng()


def _is_judged_once(trial: FrozenTrial) -> bool:
    """Whether it is a solved head, which has nothing but epoch 0, and nothing to say of training."""
    return max(trial.intermediate_values, default=1) == 0
