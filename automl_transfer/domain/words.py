"""What each dimension adds to a strategy in words; empty where there is nothing to say."""

from __future__ import annotations

from typing import Any

from automl_transfer.domain.dimensions import CLOSED_FORM, EIGHTHS

Strategy = Any
"""`strategy.Strategy`, whose fields name these functions."""


def source(s: Strategy) -> str:
    """Its name."""
    return str(s.source)


def cut(s: Strategy) -> str:
    """Where the network ends, if earlier than it could."""
    return f"cut after {s.truncation}/8 of its groups" if s.truncation < EIGHTHS else ""


def pooled(s: Strategy) -> str:
    """The grid, where one output is read that is not the usual one."""
    usual = s.truncation == EIGHTHS and s.pool == 1
    return "" if s.taps > 1 or usual else f"pooled {s.pool}x{s.pool}"


def tapped(s: Strategy) -> str:
    """The outputs, where several are read."""
    return f"top {s.taps} outputs pooled {s.pool}x{s.pool}" if s.taps > 1 else ""


def resized(s: Strategy) -> str:
    """The factor of the images' sides."""
    return f"images x{s.resolution_scale:g}" if s.resolution_scale != 1.0 else ""


def transferred(s: Strategy) -> str:
    """What is transferred, and how the rest begins."""
    if not s.pretrained:
        return f"initialised {s.rest_init}"
    if s.transfer_depth == EIGHTHS:
        return "all transferred"
    if s.transfer_depth == 0:
        return f"nothing transferred ({s.rest_init})"
    return f"{s.transfer_depth}/8 transferred, rest {s.rest_init}"


def trained(s: Strategy) -> str:
    """What trains."""
    frozen = s.active().get("freeze_depth")
    return {
        "closed_form": "nothing trained",
        "head": "head trained",
        "suffix": f"{frozen}/8 of it frozen" if frozen else "all trained",
        "full": "all trained",
        "body": "body trained under a fixed head",
        "norm": "norm layers and head trained",
        "bias": "biases and head trained",
    }[s.tune_mode]


def head(s: Strategy) -> str:
    """How the head begins."""
    return f"{s.head_init} head" + (f" (lambda {s.ridge_lambda:.2g})" if s.head_init == "ridge" else "")


def scaled(s: Strategy) -> str:
    """The factor of the source's weights."""
    return f"weights x{s.weight_scale:.3g}" if s.active().get("weight_scale", 1.0) != 1.0 else ""


def shrunk(s: Strategy) -> str:
    """What is left of the source's weights."""
    return f"shrunk to {s.shrink:.2g} and perturbed" if s.active().get("shrink", 1.0) < 1.0 else ""


def optimised(s: Strategy) -> str:
    """The optimiser, its rate and schedule."""
    return f"{s.optimizer} {s.learning_rate:.2g} {s.schedule}" if s.tune_mode != CLOSED_FORM else ""


def anchored(s: Strategy) -> str:
    """The pull to the source, and its strength."""
    return f"{s.anchor} {s.anchor_weight:.2g}" if "anchor_weight" in s.active() else ""


def normalised(s: Strategy) -> str:
    """How data are centred, if not as the source wants."""
    return f"{s.normalise} normalisation" if s.normalise != "source" else ""


def seen(s: Strategy) -> str:
    """The views of training images."""
    return f"{s.views} {s.augmentation} views" if s.augmentation != "none" else ""


def mixed(s: Strategy) -> str:
    """How images are mixed, and how strongly."""
    return f"{s.mix} {s.mix_alpha:.2g}" if "mix_alpha" in s.active() else ""


def phased(s: Strategy) -> str:
    """The phases, if there are several."""
    return "" if s.active().get("phases", "one") == "one" else f"phases {s.phases}"


def prepared(s: Strategy) -> str:
    """What the source did before labels were used."""
    active = s.active()
    if active.get("prepare", "none") == "none":
        return ""
    return f"prepared by {s.prepare}" + (f" ({s.prepare_steps} steps)" if "prepare_steps" in active else "")
