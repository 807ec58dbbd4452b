"""When a dimension of a strategy has an effect, stated once for the space, the report and recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]

CLOSED_FORM = "closed_form"
BODY_MODES = ("suffix", "full", "body", "norm", "bias")
"""Tune modes in which weights below the head are trained."""


@dataclass(frozen=True)
class Condition:
    """A predicate over the values of the other dimensions, with its text for people."""

    text: str
    holds: Callable[[Values], bool]


def is_pretrained(values: Values) -> bool:
    """Whether the source has weights to transfer ("scratch" sources have none)."""
    return not str(values["source"]).startswith("scratch")


def _trains(values: Values) -> bool:
    return bool(values["tune_mode"] != CLOSED_FORM)


def _transfers(values: Values) -> bool:
    return is_pretrained(values) and values["transfer_depth"] > 0


def _has_rest(values: Values) -> bool:
    return not is_pretrained(values) or values["transfer_depth"] < 8


def _body_tuned(values: Values) -> bool:
    return values["tune_mode"] in BODY_MODES


CONDITIONS: dict[str, Condition] = {
    "transfer_depth": Condition("source is pretrained", is_pretrained),
    "freeze_depth": Condition(
        "tune_mode = suffix and something is transferred",
        lambda v: v["tune_mode"] == "suffix" and _transfers(v),
    ),
    "rest_init": Condition("transfer_depth < 8/8", _has_rest),
    "head_init": Condition("tune_mode is not closed_form", _trains),
    "ridge_lambda": Condition("head_init = ridge", lambda v: not _trains(v) or v["head_init"] == "ridge"),
    "weight_scale": Condition("transfer_depth > 0", _transfers),
    "shrink": Condition("transfer_depth > 0", _transfers),
    "perturb": Condition("transfer_depth > 0 and shrink < 1", lambda v: _transfers(v) and v["shrink"] < 1.0),
    "optimizer": Condition("tune_mode is not closed_form", _trains),
    "learning_rate": Condition("tune_mode is not closed_form", _trains),
    "momentum": Condition("optimizer = sgd", lambda v: _trains(v) and v["optimizer"] == "sgd"),
    "head_lr_mult": Condition(
        "the body is tuned with the head", lambda v: _body_tuned(v) and v["tune_mode"] != "body"
    ),
    "layer_decay": Condition(
        "tune_mode in suffix, full, body", lambda v: v["tune_mode"] in ("suffix", "full", "body")
    ),
    "schedule": Condition("tune_mode is not closed_form", _trains),
    "warmup": Condition("schedule is not one_cycle", lambda v: _trains(v) and v["schedule"] != "one_cycle"),
    "weight_decay": Condition("tune_mode is not closed_form", _trains),
    "clip": Condition("tune_mode is not closed_form", _trains),
    "anchor": Condition("the body is tuned and transferred", lambda v: _body_tuned(v) and _transfers(v)),
    "anchor_weight": Condition(
        "anchor is not none", lambda v: _body_tuned(v) and _transfers(v) and v["anchor"] != "none"
    ),
    "norm_policy": Condition("tune_mode is not closed_form", _trains),
    "label_smoothing": Condition("tune_mode is not closed_form", _trains),
    "class_weights": Condition("tune_mode is not closed_form", _trains),
    "batch": Condition("tune_mode is not closed_form", _trains),
    "views": Condition("augmentation is not none", lambda v: v["augmentation"] != "none"),
}
"""Dimensions that are not always active. A dimension that is not listed here always is."""


def is_active(dimension: str, values: Values) -> bool:
    """Whether a dimension has an effect, given the values of the others."""
    condition = CONDITIONS.get(dimension)
    return condition is None or condition.holds(values)
