"""Every dimension of the space, with its range, default, effect and source, in one table.

Ranges never move: Optuna's grouped TPE keeps the last trial's range of a dimension whose bounds
depend on another. So depths are fixed-range eighths, and conditions switch dimensions on and off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from automl_transfer.domain.conditions import CONDITIONS
from automl_transfer.domain.spec import Scalar
from automl_transfer.domain.strategy import Strategy

Kind = Literal["categorical", "int", "float"]


@dataclass(frozen=True)
class Dimension:
    """One dimension: its whole range, and why it is there.

    Attributes:
        name: The field of `Strategy` that it sets.
        choices: For a categorical one; empty where any name is accepted.
        low, high: For a numeric one, inclusive.
        log: Sampled on a logarithmic scale.
        effect: What it changes, for people.
        paper: Where it comes from.
    """

    name: str
    kind: Kind
    effect: str
    paper: str
    choices: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def default(self) -> Any:
        """The value where the dimension is neither searched nor fixed."""
        return Strategy.model_fields[self.name].default

    @property
    def condition(self) -> str:
        """When the dimension has an effect, in words; empty for always."""
        condition = CONDITIONS.get(self.name)
        return condition.text if condition else ""

    @property
    def range_text(self) -> str:
        """The range in words."""
        if self.kind == "categorical":
            return " | ".join(str(choice) for choice in self.choices) or "any source name"
        if self.name in ("truncation", "transfer_depth", "freeze_depth"):
            return f"{self.low:g}/8 .. {self.high:g}/8"
        return f"{self.low:g} .. {self.high:g}{' (log)' if self.log else ''}"


RESTS = (
    "he_normal",
    "he_uniform",
    "xavier_normal",
    "xavier_uniform",
    "normal",
    "uniform",
    "orthogonal",
    "trunc_normal",
    "mean_var",
    "zero",
)
"""Initialisers offered by default. The registry of `transfer.initialise` may know more."""

_TABLE = (
    Dimension("source", "categorical", "which pretrained network", "Quick-Tune, Arango 2024"),
    Dimension("truncation", "int", "how much of the network is kept", "Head2Toe, Evci 2022", low=1, high=8),
    Dimension(
        "pool", "categorical", "grid of average pooling before the head", "He 2014 (SPP)", choices=(1, 2, 4)
    ),
    Dimension(
        "taps", "int", "topmost group outputs that the head reads", "Head2Toe, Evci 2022", low=1, high=6
    ),
    Dimension(
        "resolution_scale",
        "categorical",
        "images resized in front of the network",
        "Tan & Le 2019 (resolution)",
        choices=(0.5, 1.0, 1.5, 2.0),
    ),
    Dimension("transfer_depth", "int", "groups whose weights are copied", "Yosinski 2014", low=0, high=8),
    Dimension(
        "tune_mode",
        "categorical",
        "what trains",
        "Yosinski 2014; Lee 2022; BitFit, Ben Zaken 2022",
        choices=("head", "suffix", "full", "body", "norm", "bias", "closed_form"),
    ),
    Dimension("freeze_depth", "int", "transferred groups that stay frozen", "Quick-Tune", low=0, high=8),
    Dimension(
        "rest_init",
        "categorical",
        "initialiser of what is not transferred",
        "He 2015; Glorot 2010; Raghu 2019",
        choices=RESTS,
    ),
    Dimension(
        "head_init",
        "categorical",
        "initial weights of the head",
        "Kumar 2022 (why a good head helps)",
        choices=("zero", "he", "xavier", "ncm", "ridge"),
    ),
    Dimension(
        "ridge_lambda", "float", "penalty of the ridge head", "Hoerl 1970", low=1e-4, high=1e4, log=True
    ),
    Dimension(
        "weight_scale",
        "float",
        "multiplies the source weights",
        "Raghu 2019 (scale of features)",
        low=0.5,
        high=2.0,
        log=True,
    ),
    Dimension(
        "shrink", "float", "shrinks the source weights (1 = off)", "Ash & Adams 2020", low=0.2, high=1.0
    ),
    Dimension(
        "perturb", "float", "noise added where shrunk", "Ash & Adams 2020", low=1e-4, high=1e-1, log=True
    ),
    Dimension("optimizer", "categorical", "optimiser", "Loshchilov 2019", choices=("sgd", "adamw")),
    Dimension(
        "learning_rate",
        "float",
        "step size of the body's top group",
        "Li 2020",
        low=1e-5,
        high=1e-1,
        log=True,
    ),
    Dimension("momentum", "categorical", "momentum of SGD", "Li 2020", choices=(0.0, 0.8, 0.9, 0.95, 0.99)),
    Dimension(
        "head_lr_mult",
        "float",
        "the head's learning rate over the body's",
        "ULMFiT, Howard 2018",
        low=0.01,
        high=100.0,
        log=True,
    ),
    Dimension("layer_decay", "float", "factor per group downwards", "BEiT, Bao 2022", low=0.5, high=1.0),
    Dimension(
        "schedule",
        "categorical",
        "learning rate over time",
        "Loshchilov 2017; Smith 2019",
        choices=("cosine", "constant", "step", "one_cycle"),
    ),
    Dimension("warmup", "float", "fraction of steps with rising rate", "Goyal 2017", low=0.0, high=0.3),
    Dimension(
        "weight_decay",
        "float",
        "decay of weights, not of biases and norms",
        "Loshchilov 2019",
        low=1e-6,
        high=1e-1,
        log=True,
    ),
    Dimension(
        "clip", "categorical", "gradient norm limit (0 = none)", "Quick-Tune", choices=(0.0, 1.0, 10.0)
    ),
    Dimension(
        "anchor", "categorical", "pulls weights to the source's", "L2-SP, Li 2018", choices=("none", "l2sp")
    ),
    Dimension("anchor_weight", "float", "strength of the pull", "Li 2018", low=1e-4, high=1e-1, log=True),
    Dimension(
        "norm_policy",
        "categorical",
        "normalisation statistics",
        "AdaBN, Li 2017",
        choices=("frozen", "adapt", "train"),
    ),
    Dimension(
        "label_smoothing", "categorical", "softens the targets", "Szegedy 2016", choices=(0.0, 0.05, 0.1)
    ),
    Dimension("class_weights", "categorical", "weighs rare classes up", "King 2001", choices=(False, True)),
    Dimension(
        "normalise",
        "categorical",
        "data centring",
        "LeCun 1998 (Efficient BackProp)",
        choices=("source", "dataset", "per_image"),
    ),
    Dimension("batch", "categorical", "images a step", "Goyal 2017", choices=(16, 32, 64, 128, 256)),
    Dimension(
        "augmentation",
        "categorical",
        "how views of training images differ (flips are wrong for digits and letters)",
        "Simard 2003",
        choices=("none", "affine", "flip_affine"),
    ),
    Dimension("views", "int", "fixed views of each training image", "Hoffer 2020", low=2, high=16),
)

DIMENSIONS: dict[str, Dimension] = {dimension.name: dimension for dimension in _TABLE}
"""In the order in which they are decided: a condition refers only to what every strategy has."""
