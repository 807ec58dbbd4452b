"""What each dimension adds to a strategy in words; empty where there is nothing to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from automl_transfer.domain.dimensions import CLOSED_FORM, EIGHTHS

Strategy = Any
"""`strategy.Strategy`, whose fields name these functions."""


def unless(name: str, off: Any, text: str) -> Callable[[Strategy], str]:
    """A dimension's value in a text, where it has an effect and is not the value at which it does nothing."""

    def words(s: Strategy) -> str:
        value = s.active().get(name, off)
        return "" if value == off else text.format(value)

    return words


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


def images_at(scale: float, *, detail: bool) -> str:
    """Images of another size than the task's.

    >>> images_at(2.0, detail=False), images_at(1.5, detail=True)
    ('images x2', 'images x1.5 in detail')
    """
    return f"images x{scale:g}" + (" in detail" if detail and scale > 1.0 else "")


def resized(s: Strategy) -> str:
    """The factor of the images' sides."""
    return images_at(s.resolution_scale, detail=s.detail) if s.resolution_scale != 1.0 else ""


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
        "adapter": f"adapters of width {s.adapter_width} and head trained",
    }[s.tune_mode]


def head(s: Strategy) -> str:
    """How the head begins."""
    return f"{s.head_init} head" + (f" (lambda {s.ridge_lambda:.2g})" if s.head_init == "ridge" else "")


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


def distorted(s: Strategy) -> str:
    """The distortion, and its strength."""
    return f"{s.distort} {s.distort_strength:.2g}" if "distort_strength" in s.active() else ""


def mixed(s: Strategy) -> str:
    """How images are mixed, and how strongly."""
    return f"{s.mix} {s.mix_alpha:.2g}" if "mix_alpha" in s.active() else ""


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


def attacked(s: Strategy) -> str:
    """The attack that each step of training withstands."""
    if "adversarial_steps" not in s.active():
        return ""
    return f"trained against PGD-{s.adversarial_steps} of {s.adversarial:.2g}"


scaled = unless("weight_scale", 1.0, "weights x{:.3g}")
shrunk = unless("shrink", 1.0, "shrunk to {:.2g} and perturbed")
cropped = unless("crop", 1.0, "cropped to {:.2g} or more")
train_scaled = unless("train_scale", 1.0, "crops at {:.2g} of that side")
mirrored = unless("mirror", False, "mirrored at random")
erased = unless("erasing", 0.0, "erased with {:.2g}")
phased = unless("phases", "one", "phases {}")
stochastic = unless("stoch_norm", 0.0, "stochastic norms {:.2g}")
dropped = unless("dropout", 0.0, "dropout {:.2g}")
shortened = unless("drop_path", 0.0, "drop path {:.2g}")
generalised = unless("gce", 0.0, "generalised cross-entropy {:.2g}")
noisy = unless("input_noise", 0.0, "noise {:.2g}")
averaged = unless("ema", 0.0, "weights averaged {:.4g}")
interpolated = unless("wise_alpha", 1.0, "{:.2g} of the way from the source")
