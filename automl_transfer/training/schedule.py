"""Learning rate over time, as a pure function of the step: nothing to save, nothing to drift."""

from __future__ import annotations

import math

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1.0 / 25.0
_ONE_CYCLE_END = 1e-4 / 25.0
_STEPS_AT = (0.5, 0.75)


def rate_factor(schedule: str, step: int, total: int, warmup: float) -> float:
    """What the base learning rate is multiplied with at a step.

    Args:
        schedule: "constant"; "cosine" to 0 (Loshchilov & Hutter 2017); "step", a tenth after one half
            and again after three quarters (He et al. 2016); "one_cycle", up for 30 %, then down, both
            as cosines (Smith & Topin 2019).
        step: Optimiser steps done so far, in [0, total).
        total: Steps in the study's whole horizon, wherever a trial may stop.
        warmup: Fraction of `total` over which the factor rises linearly (one_cycle has its own).
    """
    progress = step / total
    if schedule == "one_cycle":
        if progress < _ONE_CYCLE_RISE:
            return _between(_ONE_CYCLE_START, 1.0, progress / _ONE_CYCLE_RISE)
        return _between(1.0, _ONE_CYCLE_END, (progress - _ONE_CYCLE_RISE) / (1.0 - _ONE_CYCLE_RISE))
    rising = int(warmup * total)
    if step < rising:
        return (step + 1) / (rising + 1)
    if schedule == "cosine":
        return _between(1.0, 0.0, (step - rising) / (total - rising))
    if schedule == "step":
        return 0.1 ** sum(progress >= at for at in _STEPS_AT)
    if schedule == "constant":
        return 1.0
    raise ValueError(f"schedule must be cosine, constant, step or one_cycle, got {schedule!r}")


def _between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))
