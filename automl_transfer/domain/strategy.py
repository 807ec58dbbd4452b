"""The strategy: everything that decides how a source becomes a model for a task."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from automl_transfer.domain import dimensions as d
from automl_transfer.domain import methods, words
from automl_transfer.domain.dimensions import CLOSED_FORM, EIGHTHS, Dimension, is_pretrained

Eighths = Annotated[int, Field(ge=0, le=EIGHTHS)]
PositiveEighths = Annotated[int, Field(ge=1, le=EIGHTHS)]
TuneMode = Literal[
    "closed_form", "head", "suffix", "full", "body", "norm", "bias", "surgical", "lora", "adapter"
]
HeadInit = Literal["zero", "he", "xavier", "ncm", "ridge"]
Normalisation = Literal["source", "dataset", "per_image"]
Augmentation = Literal["none", "affine", "flip_affine"]
Method = Annotated[str, Field(min_length=1, max_length=64)]
"""The name of a method of a role; whether it is installed is asked where it is used (`methods.get`)."""

FIRST_DEFAULTS: dict[str, Any] = {}
"""What a dimension had as its default when it came, where that has changed since. A line is never taken out:
stores leave out what has this value, and a strategy that has it is called what it was before."""


def _was_on(name: str, values: dict[str, Any], first: dict[str, Any]) -> bool:
    """Whether a dimension at its first default stands beside values that were possible before it came.

    An older version called that strategy by a key without the dimension. Beside other values that are as
    young (`views` of an `augmentation`), no older version called it anything.
    """
    before = {n: first[n] for n, since in SINCE.items() if since >= SINCE[name]}
    return is_active(name, {**values, **before})


class Strategy(BaseModel):
    """A plain frozen value; what each dimension does stands beside it.

    Depths are eighths: `truncation` and `transfer_depth` of the source's groups and of those kept,
    `freeze_depth` of those transferred, so that a strategy means the same for networks with different numbers
    of groups. The defaults keep what a solved head starts with: at ten times the rate, or with norm layers
    that follow each batch, the first epoch destroys it (`benchmarks/defaults.py`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: Annotated[str, Field(min_length=1, max_length=300), Dimension(
        "which pretrained network", "Quick-Tune, Arango 2024", words=words.source,
    )] = "efficientnet-lite0"  # fmt: skip
    truncation: Annotated[PositiveEighths, Dimension(
        "how much of the network is kept", "Head2Toe, Evci 2022", low=1, high=8, unit="/8", words=words.cut,
    )] = EIGHTHS  # fmt: skip
    pool: Annotated[Literal[1, 2, 4], Dimension(
        "grid of average pooling before the head", "He 2014 (SPP)", choices=(1, 2, 4), words=words.pooled,
    )] = 1  # fmt: skip
    taps: Annotated[int, Field(ge=1, le=EIGHTHS), Dimension(
        "topmost group outputs that the head reads", "Head2Toe, Evci 2022", low=1, high=6,
        words=words.tapped,
    )] = 1  # fmt: skip
    resolution_scale: Annotated[float, Field(ge=0.25, le=4.0), Dimension(
        "images resized in front of the network", "Tan & Le 2019 (resolution)",
        choices=(0.5, 1.0, 1.5, 2.0), words=words.resized,
    )] = 1.0  # fmt: skip
    transfer_depth: Annotated[Eighths, Dimension(
        "groups whose weights are copied", "Yosinski 2014", low=0, high=8, unit="/8", when=d.PRETRAINED,
        words=words.transferred,
    )] = EIGHTHS  # fmt: skip
    tune_mode: Annotated[TuneMode, Dimension(
        "what trains",
        "Yosinski 2014; Lee 2022; BitFit, Ben Zaken 2022; LoRA, Hu 2022; adapters, Houlsby 2019",
        choices=(
            "head", "suffix", "full", "body", "norm", "bias", "surgical", "lora", "adapter", "closed_form",
        ),
        choice_needs={"adapter": "residual_blocks"}, words=words.trained,
    )] = "suffix"  # fmt: skip
    freeze_depth: Annotated[Eighths, Dimension(
        "transferred groups that stay frozen", "Quick-Tune", low=0, high=8, unit="/8", when=d.FREEZES,
    )] = EIGHTHS // 2  # fmt: skip
    rest_init: Annotated[Method, Dimension(
        "initialiser of what is not transferred", "He 2015; Glorot 2010; Raghu 2019", role="rest_init",
        when=d.HAS_REST,
    )] = "he_normal"  # fmt: skip
    head_init: Annotated[HeadInit, Dimension(
        "initial weights of the head", "Kumar 2022 (why a good head helps)",
        choices=("zero", "he", "xavier", "ncm", "ridge"), when=d.TRAINS, words=words.head,
    )] = "ridge"  # fmt: skip
    ridge_lambda: Annotated[float, Field(ge=1e-6, le=1e6), Dimension(
        "penalty of the ridge head", "Hoerl 1970", low=1e-4, high=1e4, log=True, when=d.RIDGE,
    )] = 1.0  # fmt: skip
    weight_scale: Annotated[float, Field(ge=0.1, le=10.0), Dimension(
        "multiplies the source weights", "Raghu 2019 (scale of features)", low=0.5, high=2.0, log=True,
        when=d.TRANSFERS, needs="unnormalised", words=words.scaled,
    )] = 1.0  # fmt: skip
    shrink: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "shrinks the source weights (1 = off)", "Ash & Adams 2020", low=0.2, high=1.0, when=d.TRANSFERS,
        words=words.shrunk,
    )] = 1.0  # fmt: skip
    perturb: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "noise added where shrunk", "Ash & Adams 2020", low=1e-4, high=1e-1, log=True, when=d.SHRUNK,
    )] = 1e-2  # fmt: skip
    optimizer: Annotated[Literal["sgd", "adamw"], Dimension(
        "optimiser", "Loshchilov 2019", choices=("sgd", "adamw"), when=d.TRAINS,
    )] = "adamw"  # fmt: skip
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0), Dimension(
        "step size of the body's top group", "Li 2020", low=1e-5, high=1e-1, log=True, when=d.TRAINS,
        words=words.optimised,
    )] = 1e-4  # fmt: skip
    momentum: Annotated[float, Field(ge=0.0, lt=1.0), Dimension(
        "momentum of SGD", "Li 2020", choices=(0.0, 0.8, 0.9, 0.95, 0.99), when=d.BY_SGD,
    )] = 0.9  # fmt: skip
    head_lr_mult: Annotated[float, Field(ge=0.01, le=1000.0), Dimension(
        "the head's learning rate over the body's", "ULMFiT, Howard 2018", low=0.01, high=100.0, log=True,
        when=d.HEAD_WITH_BODY,
    )] = 1.0  # fmt: skip
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0), Dimension(
        "factor per group downwards", "BEiT, Bao 2022", low=0.5, high=1.0, when=d.BODY_WEIGHTS,
    )] = 0.75  # fmt: skip
    schedule: Annotated[Literal["cosine", "constant", "step", "one_cycle"], Dimension(
        "learning rate over time", "Loshchilov 2017; Smith 2019",
        choices=("cosine", "constant", "step", "one_cycle"), when=d.TRAINS,
    )] = "cosine"  # fmt: skip
    warmup: Annotated[float, Field(ge=0.0, lt=1.0), Dimension(
        "fraction of steps with rising rate", "Goyal 2017", low=0.0, high=0.3, when=d.WARMS_UP,
    )] = 0.1  # fmt: skip
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "decay of weights, not of biases and norms", "Loshchilov 2019", low=1e-6, high=1e-1, log=True,
        when=d.TRAINS,
    )] = 1e-4  # fmt: skip
    clip: Annotated[float, Field(ge=0.0, le=1e4), Dimension(
        "gradient norm limit (0 = none)", "Quick-Tune", choices=(0.0, 1.0, 10.0), when=d.TRAINS,
    )] = 0.0  # fmt: skip
    anchor: Annotated[Method, Dimension(
        "keeps what the source knew", "L2-SP, Li 2018; DELTA, Li 2019; BSS, Chen 2019; Co-Tuning, You 2020",
        role="anchor", when=d.ANCHORABLE, choice_needs={d.CO_TUNING: "source_head"}, words=words.anchored,
    )] = "none"  # fmt: skip
    anchor_weight: Annotated[float, Field(ge=0.0, le=10.0), Dimension(
        "strength of the anchor", "Li 2018", low=1e-4, high=1e-1, log=True, when=d.ANCHORED,
    )] = 1e-2  # fmt: skip
    norm_policy: Annotated[Literal["frozen", "adapt", "train"], Dimension(
        "normalisation statistics", "AdaBN, Li 2017", choices=("frozen", "adapt", "train"), when=d.TRAINS,
        choice_needs={"adapt": "batch_norms"},
    )] = "frozen"  # fmt: skip
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0), Dimension(
        "softens the targets", "Szegedy 2016", choices=(0.0, 0.05, 0.1), when=d.TRAINS,
    )] = 0.0  # fmt: skip
    class_weights: Annotated[bool, Dimension(
        "weighs rare classes up", "King 2001", choices=(False, True), when=d.TRAINS,
    )] = False  # fmt: skip
    normalise: Annotated[Normalisation, Dimension(
        "data centring", "LeCun 1998 (Efficient BackProp)", choices=("source", "dataset", "per_image"),
        words=words.normalised,
    )] = "source"  # fmt: skip
    batch: Annotated[int, Field(ge=1, le=65536), Dimension(
        "images a step", "Goyal 2017", choices=(16, 32, 64, 128, 256), when=d.TRAINS,
    )] = 64  # fmt: skip
    augmentation: Annotated[Augmentation, Dimension(
        "how views of training images differ (flips are wrong for digits and letters)", "Simard 2003",
        choices=("none", "affine", "flip_affine"), since=2, words=words.seen,
    )] = "none"  # fmt: skip
    views: Annotated[int, Field(ge=2, le=16), Dimension(
        "fixed views of each training image", "Hoffer 2020", low=2, high=16, when=d.AUGMENTED, since=2,
    )] = 8  # fmt: skip
    mix: Annotated[Method, Dimension(
        "mixes training images and their labels", "mixup, Zhang 2018", role="mix", when=d.TRAINS, since=3,
        words=words.mixed,
    )] = "none"  # fmt: skip
    mix_alpha: Annotated[float, Field(gt=0.0, le=10.0), Dimension(
        "strength of the mixing", "Zhang 2018", low=0.1, high=1.0, when=d.MIXED, since=3,
    )] = 0.2  # fmt: skip
    phases: Annotated[Method, Dimension(
        "what trains when", "Kumar 2022; ULMFiT, Howard 2018", role="phases", when=d.TRAINS, since=3,
        words=words.phased,
    )] = "one"  # fmt: skip
    prepare: Annotated[Method, Dimension(
        "what the source does with the target's images before labels are used",
        "Vincent 2010; SimMIM, Xie 2022; Kessy 2018", role="prepare", when=d.TRANSFERS, since=3,
        words=words.prepared,
    )] = "none"  # fmt: skip
    source_prune: Annotated[float, Field(ge=0.0, lt=1.0), Dimension(
        "share of each layer's source weights, the smallest, that become zero", "Han 2015",
        choices=(0.0, 0.2, 0.5, 0.8), when=d.TRANSFERS, since=4, words=words.pruned,
    )] = 0.0  # fmt: skip
    stoch_norm: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "probability that a channel is normalised by the moving statistics in a step", "StochNorm, Kou 2020",
        choices=(0.0, 0.25, 0.5), when=d.NORMS_MOVE, needs="batch_norms", since=4, words=words.stochastic,
    )] = 0.0  # fmt: skip
    dropout: Annotated[float, Field(ge=0.0, lt=1.0), Dimension(
        "share of pooled features that a step leaves out before the head", "Srivastava 2014",
        choices=(0.0, 0.2, 0.4), when=d.TRAINS, since=4, words=words.dropped,
    )] = 0.0  # fmt: skip
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0), Dimension(
        "probability that a step leaves out the last residual block, those below less often",
        "stochastic depth, Huang 2016", choices=(0.0, 0.1, 0.2), when=d.BODY_TUNED, needs="residual_blocks",
        since=4, words=words.shortened,
    )] = 0.0  # fmt: skip
    ema: Annotated[float, Field(ge=0.0, lt=1.0), Dimension(
        "decay of the average of weights that is judged and shipped (0 = the weights themselves)",
        "Polyak 1992; Tarvainen 2017", choices=(0.0, 0.99, 0.999), when=d.TRAINS, since=4,
        words=words.averaged,
    )] = 0.0  # fmt: skip
    wise_alpha: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "way from the source's weights to the tuned ones at which the model is judged and shipped",
        "WiSE-FT, Wortsman 2022", choices=(1.0, 0.75, 0.5, 0.25), when=d.ANSWERS_FIRST, since=4,
        words=words.interpolated,
    )] = 1.0  # fmt: skip

    block: Annotated[Literal["first", "middle", "last"], Dimension(
        "the third of the groups that trains", "Lee 2023 (surgical fine-tuning)",
        choices=("first", "middle", "last"), when=d.SURGICAL, since=4,
    )] = "first"  # fmt: skip
    rank: Annotated[int, Field(ge=1, le=256), Dimension(
        "rank of what is added to each weight matrix", "Hu 2022", low=2, high=16, log=True,
        when=d.LOW_RANK, since=4,
    )] = 8  # fmt: skip
    head_rate: Annotated[Literal["plain", "fan_in"], Dimension(
        "whether the head's rate falls with the number of features it reads, as 1280 over them",
        "Yang 2021 (muP: Adam's rate goes as 1 / fan-in)", choices=("plain", "fan_in"),
        when=d.HEAD_WITH_BODY, since=4,
    )] = "plain"  # fmt: skip
    crop: Annotated[float, Field(ge=0.05, le=1.0), Dimension(
        "smallest share of an image that a random crop shows, drawn anew each time (1 = whole images)",
        "Szegedy 2015", low=0.2, high=1.0, when=d.TRAINS, since=4, words=words.cropped,
    )] = 1.0  # fmt: skip
    mirror: Annotated[bool, Dimension(
        "half of the training images mirrored, drawn anew each time (wrong for digits and letters)",
        "Krizhevsky 2012", choices=(False, True), when=d.TRAINS, since=4, words=words.mirrored,
    )] = False  # fmt: skip
    distort: Annotated[Method, Dimension(
        "distorts training images, drawn anew each time", "Müller & Hutter 2021; Cubuk 2020; Chen 2020",
        role="distort", when=d.TRAINS, since=4, words=words.distorted,
    )] = "none"  # fmt: skip
    distort_strength: Annotated[float, Field(gt=0.0, le=1.0), Dimension(
        "strength of the distortion", "Cubuk 2020", low=0.1, high=1.0, when=d.DISTORTED, since=4,
    )] = 0.5  # fmt: skip
    erasing: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "probability that a rectangle of a training image becomes noise", "Zhong 2020",
        choices=(0.0, 0.1, 0.25, 0.5), when=d.TRAINS, since=4, words=words.erased,
    )] = 0.0  # fmt: skip
    prepare_steps: Annotated[int, Field(ge=1, le=100_000), Dimension(
        "steps of 32 images that an encoder learns to reconstruct for", "SimMIM, Xie 2022",
        choices=(50, 100, 200, 400), when=d.RECONSTRUCTED, since=4,
    )] = 100  # fmt: skip

    adapter_width: Annotated[int, Field(ge=1, le=1024), Dimension(
        "channels of the bottleneck behind each branch of a residual block",
        "Houlsby 2019; on maps Rebuffi 2018", low=4, high=64, log=True, when=d.ADAPTED, since=5,
    )] = 16  # fmt: skip

    detail: Annotated[bool, Dimension(
        "larger images are decoded so large, with what the files have, instead of being stretched",
        "Touvron 2019 (resolution)", choices=(False, True), when=d.ENLARGED, since=6,
    )] = False  # fmt: skip

    gce: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "q of the generalised cross-entropy, which believes labels less the larger it is (0 = cross-entropy)",
        "Zhang & Sabuncu 2018", choices=(0.0, 0.3, 0.7), when=d.TRAINS, since=7, words=words.generalised,
    )] = 0.0  # fmt: skip
    input_noise: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "deviation of the noise added to each pixel in a step, of pixels in [0, 1]", "Cohen 2019",
        choices=(0.0, 0.05, 0.1), when=d.TRAINS, since=7, words=words.noisy,
    )] = 0.0  # fmt: skip
    adversarial: Annotated[float, Field(ge=0.0, le=1.0), Dimension(
        "how far each step moves pixels against the model, of pixels in [0, 1] (0 = not)",
        "Madry 2018; Wong 2020", choices=(0.0, 0.01, 0.03), when=d.TRAINS, since=7, words=words.attacked,
    )] = 0.0  # fmt: skip
    adversarial_steps: Annotated[int, Field(ge=1, le=50), Dimension(
        "steps of that attack (1 = FGSM from a random start)", "Madry 2018; Wong 2020",
        choices=(1, 3, 7), when=d.ATTACKED, since=7,
    )] = 1  # fmt: skip

    train_scale: Annotated[float, Field(ge=0.25, le=1.0), Dimension(
        "side of the crops that train, as a share of that of the images that are judged",
        "FixRes, Touvron 2019", choices=(0.6, 0.8, 1.0), when=d.CROPPED, since=8, words=words.train_scaled,
    )] = 1.0  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tune_mode == CLOSED_FORM and self.head_init != "ridge":
            raise ValueError(
                f"head_init must be ridge where tune_mode is closed_form, got {self.head_init}: "
                "set head_init to ridge, or train the head with tune_mode head"
            )
        if d.co_tunes_a_part(vars(self)):
            raise ValueError(
                "truncation and transfer_depth must be 8 where anchor is co_tuning, got "
                f"{self.truncation} and {self.transfer_depth}: the source's classifier reads its whole "
                "network; set both to 8, or take another anchor"
            )
        return self

    @property
    def pretrained(self) -> bool:
        """Whether the source has weights to transfer."""
        return is_pretrained({"source": self.source})

    def active(self) -> dict[str, Any]:
        """The values of the dimensions that have an effect here, in field order."""
        values = self.model_dump(mode="json")
        return {name: value for name, value in values.items() if is_active(name, values)}

    def canonical(self) -> Strategy:
        """The same strategy with every dimension that has no effect set to its default."""
        return Strategy.model_validate(self.active())

    @classmethod
    @functools.cache
    def first_defaults(cls) -> dict[str, Any]:
        """Values at which a strategy does what it did before it had the dimension; not to be changed."""
        return {name: field.default for name, field in cls.model_fields.items()} | FIRST_DEFAULTS

    def key(self) -> str:
        """A stable identifier: equal for strategies that do the same, and the same in every version."""
        active, first = self.active(), self.first_defaults()
        young = [n for n in active if n in SINCE and active[n] == first[n]]
        if young:
            everything = self.model_dump(mode="json")
            active = {n: v for n, v in active.items() if n not in young or not _was_on(n, everything, first)}
        # Zero has two signs, and they do the same.
        values = {n: v + 0.0 if isinstance(v, float) else v for n, v in active.items()}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Strategy:
        """The strategy of these values, canonical, where single ones do not fit the others.

        A closed form has a ridge head, whatever is said of it, and a part of a network no Co-Tuning.
        """
        changes: dict[str, Any] = {"head_init": "ridge"} if values["tune_mode"] == CLOSED_FORM else {}
        if d.co_tunes_a_part(values):
            changes["anchor"] = DIMENSIONS["anchor"].default
        return cls.model_validate({**values, **changes}).canonical()

    def describe(self) -> str:
        """The strategy in words, on one line."""
        return ", ".join(words for each in DIMENSIONS.values() if (words := each.words(self)))


DIMENSIONS: dict[str, Dimension] = d.dimensions_of(Strategy)
"""Every dimension of the space, in the order in which they are decided.

Ranges never move: Optuna's grouped TPE keeps the last trial's range of a dimension whose bounds depend on
another. So depths are fixed-range eighths, and conditions switch dimensions on and off.
"""

SINCE: dict[str, int] = {name: each.since for name, each in DIMENSIONS.items() if each.since > 1}
"""The version of the space that brought a dimension, where that was not the first."""

SPACE_VERSION = max(SINCE.values())
"""Of the space of strategies. A new dimension, or a new choice of one, raises it: rows in stores carry it."""


def is_active(dimension: str, values: Mapping[str, Any]) -> bool:
    """Whether a dimension has an effect, given the values of the others."""
    return DIMENSIONS[dimension].when.holds(values)


def require_methods(strategy: Strategy) -> None:
    """Raise ConfigurationError, with those that there are, where a strategy's method is not installed."""
    for name, dimension in DIMENSIONS.items():
        if dimension.role is not None:
            methods.check(dimension.role, getattr(strategy, name))
