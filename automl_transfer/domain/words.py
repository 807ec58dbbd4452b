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
        "surgical": f"{s.block} third and head trained",
        "lora": f"rank {s.rank} and head trained",
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


def cropped(s: Strategy) -> str:
    """The smallest random crop."""
    crop = s.active().get("crop", 1.0)
    return f"cropped to {crop:.2g} or more" if crop < 1.0 else ""


def mirrored(s: Strategy) -> str:
    """Whether images are mirrored at random."""
    return "mirrored at random" if s.active().get("mirror", False) else ""


def distorted(s: Strategy) -> str:
    """The distortion, and its strength."""
    return f"{s.distort} {s.distort_strength:.2g}" if "distort_strength" in s.active() else ""


def erased(s: Strategy) -> str:
    """How often a part becomes noise."""
    return f"erased with {s.erasing:.2g}" if s.active().get("erasing", 0.0) > 0.0 else ""


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


def pruned(s: Strategy) -> str:
    """The share of the source's weights that was dropped."""
    share = s.active().get("source_prune", 0.0)
    return f"{100 * share:.3g}% of its weights pruned" if share else ""


def stochastic(s: Strategy) -> str:
    """Stochastic normalisation."""
    share = s.active().get("stoch_norm", 0.0)
    return f"stochastic norms {share:.2g}" if share else ""


def dropped(s: Strategy) -> str:
    """Dropout before the head."""
    share = s.active().get("dropout", 0.0)
    return f"dropout {share:.2g}" if share else ""


def shortened(s: Strategy) -> str:
    """Stochastic depth."""
    share = s.active().get("drop_path", 0.0)
    return f"drop path {share:.2g}" if share else ""


def averaged(s: Strategy) -> str:
    """The average of weights."""
    decay = s.active().get("ema", 0.0)
    return f"weights averaged {decay:.4g}" if decay else ""


def interpolated(s: Strategy) -> str:
    """How far the shipped weights are from the source's."""
    alpha = s.active().get("wise_alpha", 1.0)
    return f"{alpha:.2g} of the way from the source" if alpha != 1.0 else ""
