"""Samplers and pruners by name. A new one is a function here and one line in a registry.

Those that are no defaults stay for comparison, and because studies name them.

Epochs are the resource; learning-rate schedules are always laid out over the study's whole horizon, so a
pruner only observes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from automl_transfer.domain.spec import SearchSpec
from automl_transfer.search.prior import PriorSampler, Recipes


def _tpe(spec: SearchSpec, seed: int, recipes: Recipes) -> BaseSampler:
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


def _random(spec: SearchSpec, seed: int, recipes: Recipes) -> BaseSampler:
    """Independent uniform draws (Bergstra & Bengio 2012)."""
    return RandomSampler(seed=seed)


def _prior(spec: SearchSpec, seed: int, recipes: Recipes) -> BaseSampler:
    """Around the best strategies and known recipes, with TPE for what was learnt (`search.prior`)."""
    return PriorSampler(_tpe(spec, seed, recipes), seed, spec.first_rung, recipes)


SAMPLERS: dict[str, Callable[[SearchSpec, int, Recipes], BaseSampler]] = {
    "prior": _prior,  # the default: soonest near the best, least luck on validation (docs/evidence.md)
    "tpe": _tpe,
    "random": _random,
}


def make_sampler(spec: SearchSpec, seed: int, recipes: Recipes = lambda trials: []) -> BaseSampler:
    """The study's sampler. Workers pass different seeds, or they would all propose the same.

    `recipes` is what earlier tasks propose (`search.warm`), for a sampler that begins at known ones.
    """
    return SAMPLERS[spec.sampler](spec, seed, recipes)


def worker_seed(base: int, existing: int, index: int) -> int:
    """A seed of its own for every worker and every resumption; the same for a fresh single worker."""
    return (base * 1_000_003 + existing * 7919 + index * 104_729) % (2**31)


def _promote(spec: SearchSpec) -> BasePruner:
    """Stops nothing: trials pause at rungs, and the best go on (`search.promotion`)."""
    return NopPruner()


def _asha(spec: SearchSpec) -> BasePruner:
    """Asynchronous successive halving (Li 2020)."""
    return SuccessiveHalvingPruner(min_resource=spec.first_rung, reduction_factor=spec.reduction_factor)


def _hyperband(spec: SearchSpec) -> BasePruner:
    """Several brackets of successive halving (Li 2018)."""
    return HyperbandPruner(
        min_resource=spec.first_rung,
        max_resource=spec.epochs,
        reduction_factor=spec.reduction_factor,
    )


def _median(spec: SearchSpec) -> BasePruner:
    """Stops what is below the median of finished trials at the same epoch (Golovin 2017)."""
    return MedianPruner(n_startup_trials=4, n_warmup_steps=spec.first_rung)


def _none(spec: SearchSpec) -> BasePruner:
    """Never stops a trial."""
    return NopPruner()


PRUNERS: dict[str, Callable[[SearchSpec], BasePruner]] = {
    "promote": _promote,  # the default: as soon as asha and median, and loses nothing (docs/evidence.md)
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
    "none": _none,
}


def make_pruner(spec: SearchSpec) -> BasePruner:
    """The study's pruner."""
    return PRUNERS[spec.pruner](spec)
