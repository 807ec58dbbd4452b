"""Recipes that are good on some family of images each: where draws begin while nothing better is known.

Each says only what makes it what it is; the rest is as the best trial has it: what the profile found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_transfer.search.answers import FINETUNED, TUNED_ON

_CROPPED: Mapping[str, Any] = {
    **FINETUNED, "mirror": True, "phases": "one",
    "truncation": 8, "pool": 1, "taps": 1, "resolution_scale": 1.0,
}  # fmt: skip

_UPPER: Mapping[str, Any] = {
    **TUNED_ON, "head_rate": "fan_in", "tune_mode": "suffix", "head_init": "ridge",
    "optimizer": "adamw", "layer_decay": 0.75, "schedule": "cosine",
}  # fmt: skip

PORTFOLIO: Mapping[str, Mapping[str, Any]] = {
    "whole": _CROPPED,
    "whole, distorted": {**_CROPPED, "distort": "trivial", "distort_strength": 1.0, "erasing": 0.25},
    "whole, mixed": {**_CROPPED, "mix": "mixup", "mix_alpha": 0.2},
    "whole, gentler": {**_CROPPED, "learning_rate": 3e-4, "layer_decay": 0.8, "crop": 0.7},
    "head first": {**_CROPPED, "phases": "lp_ft", "head_init": "ridge", "learning_rate": 3e-4},
    "upper half": {
        **_UPPER,
        "norm_policy": "frozen",
        "learning_rate": 1e-4,
        "weight_decay": 1e-4,
        "batch": 64,
        "crop": 1.0,
        "mirror": False,
        "distort": "none",
    },
    "upper half, cropped": {
        **_UPPER,
        "norm_policy": "train",
        "learning_rate": 3e-4,
        "head_lr_mult": 0.1,
        "weight_decay": 0.01,
        "batch": 32,
        "label_smoothing": 0.1,
        "crop": 0.6,
        "mirror": True,
    },
}
