"""The strategy: everything that decides how a source becomes a model for a task."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from automl_transfer.domain.conditions import CLOSED_FORM, is_active, is_pretrained

EIGHTHS = 8

Eighths = Annotated[int, Field(ge=0, le=EIGHTHS)]
PositiveEighths = Annotated[int, Field(ge=1, le=EIGHTHS)]
TuneMode = Literal["closed_form", "head", "suffix", "full", "body", "norm", "bias"]
HeadInit = Literal["zero", "he", "xavier", "ncm", "ridge"]
Normalisation = Literal["source", "dataset", "per_image"]
Augmentation = Literal["none", "affine", "flip_affine"]

SPACE_VERSION = 2
"""Of the space of strategies. A new dimension, or a new choice of one, raises it: rows in stores carry it."""

SINCE: dict[str, int] = {"augmentation": 2, "views": 2}
"""The version of the space that brought a dimension, where that was not the first."""

FIRST_DEFAULTS: dict[str, Any] = {}
"""What a dimension had as its default when it came, where that has changed since. A line is never taken out:
stores leave out what has this value, and a strategy that has it is called what it was before."""


def groups_at(eighths: int, groups: int) -> int:
    """Map a depth in eighths to a number of layer groups, halves rounded up.

    Depths are fractions with a fixed range, so that one strategy means the same for networks with
    different numbers of groups.

    >>> [groups_at(k, 9) for k in range(9)]
    [0, 1, 2, 3, 5, 6, 7, 8, 9]
    """
    return (2 * eighths * groups + EIGHTHS) // (2 * EIGHTHS)


def _was_on(name: str, values: dict[str, Any], first: dict[str, Any]) -> bool:
    """Whether a dimension at its first default stands beside values that were possible before it came.

    An older version called that strategy by a key without the dimension. Beside other values that are as
    young (`views` of an `augmentation`), no older version called it anything.
    """
    before = {n: first[n] for n, since in SINCE.items() if since >= SINCE[name]}
    return is_active(name, {**values, **before})


class Strategy(BaseModel):
    """A plain frozen value. Depths are eighths of the layer groups they refer to.

    `truncation` counts eighths of the source's groups that the target model keeps, `taps` the topmost
    of their outputs that the head reads, each pooled to a grid of `pool`; `resolution_scale` resizes
    images in front of the network. `transfer_depth` counts
    eighths of the kept groups whose weights are copied, `freeze_depth` eighths of the transferred
    groups that do not train. `tune_mode` says what trains: "closed_form" nothing by gradient (the
    head is solved), "head" the head only (fully connected transfer), "suffix" what is not frozen and
    the head, "full" everything, "body" the convolutional part under a head that keeps its initial
    weights, "norm" and "bias" only those tensors and the head. With an `augmentation`, each training
    image is seen in `views` fixed ways, one an epoch in turn; a solved head sees all of them.

    The defaults keep what a solved head starts with: at ten times the rate, or with norm layers that
    follow each batch, the first epoch destroys it (`benchmarks/defaults.py`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(default="efficientnet-lite0", min_length=1, max_length=300)
    truncation: PositiveEighths = EIGHTHS
    pool: Literal[1, 2, 4] = 1
    taps: int = Field(default=1, ge=1, le=EIGHTHS)
    resolution_scale: float = Field(default=1.0, ge=0.25, le=4.0)
    transfer_depth: Eighths = EIGHTHS
    tune_mode: TuneMode = "suffix"
    freeze_depth: Eighths = EIGHTHS // 2
    rest_init: str = Field(default="he_normal", min_length=1, max_length=64)
    head_init: HeadInit = "ridge"
    ridge_lambda: float = Field(default=1.0, ge=1e-6, le=1e6)
    weight_scale: float = Field(default=1.0, ge=0.1, le=10.0)
    shrink: float = Field(default=1.0, ge=0.0, le=1.0)
    perturb: float = Field(default=1e-2, ge=0.0, le=1.0)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = Field(default=1e-4, gt=0.0, le=10.0)
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    head_lr_mult: float = Field(default=1.0, ge=0.01, le=1000.0)
    layer_decay: float = Field(default=0.75, gt=0.0, le=1.0)
    schedule: Literal["cosine", "constant", "step", "one_cycle"] = "cosine"
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=1e-4, ge=0.0, le=1.0)
    clip: float = Field(default=0.0, ge=0.0, le=1e4)
    anchor: Literal["none", "l2sp"] = "none"
    anchor_weight: float = Field(default=1e-2, ge=0.0, le=10.0)
    norm_policy: Literal["frozen", "adapt", "train"] = "frozen"
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    class_weights: bool = False
    normalise: Normalisation = "source"
    batch: int = Field(default=64, ge=1, le=65536)
    augmentation: Augmentation = "none"
    views: int = Field(default=8, ge=2, le=16)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tune_mode == CLOSED_FORM and self.head_init != "ridge":
            raise ValueError(
                f"head_init must be ridge where tune_mode is closed_form, got {self.head_init}: "
                "set head_init to ridge, or train the head with tune_mode head"
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

    def describe(self) -> str:
        """The strategy in words, on one line."""
        parts = [self.source]
        if self.truncation < EIGHTHS:
            parts.append(f"cut after {self.truncation}/8 of its groups")
        if self.taps > 1:
            parts.append(f"top {self.taps} outputs pooled {self.pool}x{self.pool}")
        elif self.truncation < EIGHTHS or self.pool > 1:
            parts.append(f"pooled {self.pool}x{self.pool}")
        if self.resolution_scale != 1.0:
            parts.append(f"images x{self.resolution_scale:g}")
        if self.pretrained:
            if self.transfer_depth == EIGHTHS:
                parts.append("all transferred")
            elif self.transfer_depth == 0:
                parts.append(f"nothing transferred ({self.rest_init})")
            else:
                parts.append(f"{self.transfer_depth}/8 transferred, rest {self.rest_init}")
            if self.transfer_depth and self.weight_scale != 1.0:
                parts.append(f"weights x{self.weight_scale:.3g}")
            if self.transfer_depth and self.shrink < 1.0:
                parts.append(f"shrunk to {self.shrink:.2g} and perturbed")
        else:
            parts.append(f"initialised {self.rest_init}")
        frozen = self.active().get("freeze_depth")
        parts.append(
            {
                "closed_form": "nothing trained",
                "head": "head trained",
                "suffix": f"{frozen}/8 of it frozen" if frozen else "all trained",
                "full": "all trained",
                "body": "body trained under a fixed head",
                "norm": "norm layers and head trained",
                "bias": "biases and head trained",
            }[self.tune_mode]
        )
        head = f"{self.head_init} head"
        parts.append(f"{head} (lambda {self.ridge_lambda:.2g})" if self.head_init == "ridge" else head)
        if self.tune_mode != CLOSED_FORM:
            parts.append(f"{self.optimizer} {self.learning_rate:.2g} {self.schedule}")
            if self.anchor != "none" and "anchor" in self.active():
                parts.append(f"{self.anchor} {self.anchor_weight:.2g}")
        if self.normalise != "source":
            parts.append(f"{self.normalise} normalisation")
        if self.augmentation != "none":
            parts.append(f"{self.views} {self.augmentation} views")
        return ", ".join(parts)
