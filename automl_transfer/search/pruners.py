"""Pruners by name. A new one is a function here and one line in the registry.

Epochs are the resource; the horizon of the learning-rate schedule is always `max_epochs`, so a
pruner only observes.
"""

from __future__ import annotations

from collections.abc import Callable

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from automl_transfer.domain.spec import SearchSpec


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
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
    "none": _none,
}


def make_pruner(spec: SearchSpec) -> BasePruner:
    """The study's pruner."""
    return PRUNERS[spec.pruner](spec)
