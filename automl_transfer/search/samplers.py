"""Samplers by name. A new one is a function here and one line in the registry."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from automl_transfer.domain.spec import SearchSpec
from automl_transfer.search.prior import PriorSampler


def _tpe(spec: SearchSpec, seed: int) -> BaseSampler:
    """Multivariate TPE over groups of dimensions that are active together (Bergstra 2011; Falkner 2018)."""
    with warnings.catch_warnings():
        # `group=True` is what conditional spaces need, and it is only marked as experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=seed,
            n_startup_trials=spec.startup_trials,
            group=True,
            multivariate=True,
            constant_liar=True,
        )


def _random(spec: SearchSpec, seed: int) -> BaseSampler:
    """Independent uniform draws (Bergstra & Bengio 2012)."""
    return RandomSampler(seed=seed)


def _prior(spec: SearchSpec, seed: int) -> BaseSampler:
    """Around the best strategies and known recipes, with TPE for what was learnt (`search.prior`)."""
    return PriorSampler(_tpe(spec, seed), seed, spec.first_rung)


SAMPLERS: dict[str, Callable[[SearchSpec, int], BaseSampler]] = {
    "prior": _prior,
    "tpe": _tpe,
    "random": _random,
}


def make_sampler(spec: SearchSpec, seed: int) -> BaseSampler:
    """The study's sampler. Workers pass different seeds, or they would all propose the same."""
    return SAMPLERS[spec.sampler](spec, seed)
