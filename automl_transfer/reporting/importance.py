"""How much each searched dimension mattered: Optuna's PED-ANOVA, and partial dependence of a forest."""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from automl_transfer.reporting.effects import Outcomes, outcomes
from automl_transfer.reporting.study_report import StudyReport

FEWEST = 10
MOST = 1000
"""Trials that are looked at, evenly thinned: more change nothing that can be seen."""


def importance(report: StudyReport) -> dict[str, float]:
    """Share of each searched dimension in reaching the best scores, largest first; empty for few trials.

    PED-ANOVA (Watanabe, Bansal and Hutter 2023, IJCAI) as Optuna has it, conditional dimensions
    included. The top group has a tenth of the trials and at least five.
    """
    return dict(_importance(report))


@functools.lru_cache(maxsize=8)
def _importance(report: StudyReport) -> tuple[tuple[str, float], ...]:
    found = _thinned(outcomes(report))
    if report.spec is None or len(found) < FEWEST:
        return ()
    import optuna  # takes a second, which a short study need not wait for
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    from automl_transfer.search.draft import fixed_draft
    from automl_transfer.space.space import Space

    space = Space.of_study(report.spec)
    if not space.searched:
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(direction="maximize")
            trials = []
            for record, score in found:
                assert record.strategy is not None
                draft = fixed_draft(record.strategy, space, "")
                trials.append(
                    optuna.trial.create_trial(
                        params=dict(draft.params), distributions=dict(draft.distributions), value=score
                    )
                )
            study.add_trials(trials)
            quantile = min(0.5, max(0.1, 5 / len(trials)))
            shares = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile)
            )
        finally:
            optuna.logging.set_verbosity(before)
    total = math.fsum(shares.values())
    if not total > 0.0:
        return ()
    return tuple((name, value / total) for name, value in sorted(shares.items(), key=lambda pair: -pair[1]))


def _thinned(found: Outcomes) -> list[tuple[Any, float]]:
    trials = list(found.trials)
    if len(trials) <= MOST:
        return trials
    chosen = np.random.default_rng(0).choice(len(trials), MOST, replace=False)
    return [trials[at] for at in sorted(chosen)]


@dataclass(frozen=True)
class PartialEffect:
    """How the expected score changes with one dimension, the others as they were (Friedman 2001).

    Attributes:
        values, scores: The curve: a random forest's mean prediction over the study's strategies.
        trials: (number, value, score) of every trial in which the dimension has an effect.
    """

    name: str
    log: bool
    categorical: bool
    values: tuple[Any, ...]
    scores: tuple[float, ...]
    trials: tuple[tuple[int, Any, float], ...]


@functools.lru_cache(maxsize=8)
def partial_effects(report: StudyReport) -> tuple[PartialEffect, ...]:
    """The effects of the four most important dimensions."""
    from sklearn.ensemble import RandomForestRegressor

    from automl_transfer.space.space import Space

    names = list(importance(report))[:4]
    found = _thinned(outcomes(report))
    if not names or report.spec is None:
        return ()
    searched = {d.name: d for d in Space.of_study(report.spec).searched}
    columns = list(searched)
    levels = {n: {value: at for at, value in enumerate(d.choices)} for n, d in searched.items()}

    def encode(name: str, value: Any) -> float:
        if levels[name]:
            return float(levels[name].get(value, -1))
        return math.log(value) if searched[name].log and value > 0 else float(value)

    rows = np.array(
        [[encode(n, getattr(record.strategy, n)) for n in columns] for record, _ in found], dtype=float
    )
    scores = np.array([score for _, score in found])
    forest = RandomForestRegressor(
        60, min_samples_leaf=max(2, len(scores) // 60), random_state=0, n_jobs=1
    ).fit(rows, scores)
    background = rows[:: max(1, len(rows) // 200)]
    effects = []
    for name in names:
        dimension, at = searched[name], columns.index(name)
        shown = [
            (record.number, value, score)
            for record, score in found
            if record.strategy is not None and (value := record.strategy.active().get(name)) is not None
        ]
        if len(shown) < FEWEST // 2:
            continue
        grid = _grid(dimension, [value for _, value, _ in shown])
        curve = []
        for value in grid:
            changed = background.copy()
            changed[:, at] = encode(name, value)
            curve.append(float(forest.predict(changed).mean()))
        effects.append(
            PartialEffect(name, dimension.log, bool(levels[name]), tuple(grid), tuple(curve), tuple(shown))
        )
    return tuple(effects)


def _grid(dimension: Any, values: list[Any]) -> list[Any]:
    if dimension.choices:
        return [choice for choice in dimension.choices if choice in set(values)]
    low, high = min(values), max(values)
    if dimension.kind == "int":
        return list(range(int(low), int(high) + 1))
    if dimension.log and low > 0:
        return [float(value) for value in np.geomspace(low, high, 15)]
    return [float(value) for value in np.linspace(low, high, 15)]
