"""What a dimension of a strategy is: its range, its effect, when it has one, and how it is put into words.

Each stands at its field of `Strategy`; the space, the reference, conditions and keys are derived from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel

from automl_transfer.domain import methods
from automl_transfer.domain.spec import Scalar

Values = Mapping[str, Any]
Kind = Literal["categorical", "int", "float"]

Trait = Literal["source_head", "batch_norms", "unnormalised", "residual_blocks"]
"""What a source's network may have, where a method needs it."""
TRAITS: Mapping[Trait, tuple[str, str]] = MappingProxyType({
    "source_head": ("the source's own classifier", "it comes without one"),
    "batch_norms": ("batch norms", "it has none"),
    "unnormalised": (
        "a network without norm layers", "its norm layers undo what is done to the weights, or no longer fit"
    ),
    "residual_blocks": ("residual blocks that can be left out", "it has none"),
})  # fmt: skip
"""What each is, and why a source without it is excluded."""
ALL_TRAITS: frozenset[Trait] = frozenset(TRAITS)

CLOSED_FORM = "closed_form"
SOLVED = ("ncm", "ridge")
"""Values of `head_init` that solve the head from the training images."""
CO_TUNING = "co_tuning"
EIGHTHS = 8
BODY_MODES = ("suffix", "full", "body", "norm", "bias", "surgical", "lora", "adapter")
"""Tune modes in which weights below the head are trained."""
ADDING_MODES = ("lora", "adapter")
"""Those in which the source's own weights stay, and something is added."""


@dataclass(frozen=True)
class Condition:
    """A predicate over the values of the other dimensions, with its text for people (empty for always)."""

    text: str
    holds: Callable[[Values], bool]


def is_pretrained(values: Values) -> bool:
    """Whether the source has weights to transfer ("scratch" sources have none)."""
    return not str(values["source"]).startswith("scratch")


def _trains(values: Values) -> bool:
    return bool(values["tune_mode"] != CLOSED_FORM)


def _transfers(values: Values) -> bool:
    return is_pretrained(values) and values["transfer_depth"] > 0


def _body_tuned(values: Values) -> bool:
    return values["tune_mode"] in BODY_MODES


def _anchored(values: Values) -> bool:
    return _body_tuned(values) and values["tune_mode"] not in ADDING_MODES and _transfers(values)


def co_tunes_a_part(values: Values) -> bool:
    """Whether Co-Tuning is asked for where the source's classifier cannot stand on what it was trained on."""
    whole = values["truncation"] == values["transfer_depth"] == EIGHTHS
    return values["anchor"] == CO_TUNING and _anchored(values) and not whole


ALWAYS = Condition("", lambda values: True)
PRETRAINED = Condition("source is pretrained", is_pretrained)
TRANSFERS = Condition("transfer_depth > 0", _transfers)
HAS_REST = Condition(
    "transfer_depth < 8/8", lambda values: not is_pretrained(values) or values["transfer_depth"] < 8
)
FREEZES = Condition(
    "tune_mode = suffix and something is transferred",
    lambda values: values["tune_mode"] == "suffix" and _transfers(values),
)
TRAINS = Condition("tune_mode is not closed_form", _trains)
RIDGE = Condition("head_init = ridge", lambda values: not _trains(values) or values["head_init"] == "ridge")
SHRUNK = Condition(
    "transfer_depth > 0 and shrink < 1", lambda values: _transfers(values) and values["shrink"] < 1.0
)
BY_SGD = Condition("optimizer = sgd", lambda values: _trains(values) and values["optimizer"] == "sgd")
HEAD_WITH_BODY = Condition(
    "the body is tuned with the head",
    lambda values: _body_tuned(values) and values["tune_mode"] != "body",
)
WEIGHT_MODES = ("suffix", "full", "body", "surgical", "lora")
BODY_WEIGHTS = Condition(
    f"tune_mode in {', '.join(WEIGHT_MODES)}", lambda values: values["tune_mode"] in WEIGHT_MODES
)
SURGICAL = Condition("tune_mode = surgical", lambda values: values["tune_mode"] == "surgical")
LOW_RANK = Condition("tune_mode = lora", lambda values: values["tune_mode"] == "lora")
ADAPTED = Condition("tune_mode = adapter", lambda values: values["tune_mode"] == "adapter")
WARMS_UP = Condition(
    "schedule is not one_cycle", lambda values: _trains(values) and values["schedule"] != "one_cycle"
)
ANCHORABLE = Condition("weights of the body are tuned and transferred", _anchored)
ANCHORED = Condition("anchor is not none", lambda values: _anchored(values) and values["anchor"] != "none")
MIXED = Condition("mix is not none", lambda values: _trains(values) and values["mix"] != "none")
CROPPED = Condition("crop < 1", lambda values: _trains(values) and values["crop"] < 1.0)
DISTORTED = Condition("distort is not none", lambda values: _trains(values) and values["distort"] != "none")
ATTACKED = Condition("adversarial > 0", lambda values: _trains(values) and values["adversarial"] > 0.0)
NORMS_MOVE = Condition(
    "the body is tuned and transferred, and norm_policy = train",
    lambda values: _anchored(values) and values["norm_policy"] == "train",
)
BODY_TUNED = Condition("the body is tuned", _body_tuned)
ANSWERS_FIRST = Condition(
    "the body is tuned and transferred under a head that is ridge or ncm",
    lambda values: _anchored(values) and values["head_init"] in SOLVED,
)
RECONSTRUCTED = Condition(
    "prepare is neither none nor whiten",
    lambda values: _transfers(values) and values["prepare"] not in ("none", "whiten"),
)
ENLARGED = Condition("resolution_scale > 1", lambda values: values["resolution_scale"] > 1.0)
AUGMENTED = Condition("augmentation is not none", lambda values: values["augmentation"] != "none")


@dataclass(frozen=True)
class Dimension:
    """One dimension: its whole range, and why it is there.

    Attributes:
        effect: What it changes, for people.
        paper: Where it comes from.
        choices: For a categorical one; empty where any name is accepted, or the methods of `role` are.
        low, high: For a numeric one, inclusive.
        log: Sampled on a logarithmic scale.
        unit: Stands behind its numbers.
        role: Its choices are the methods of this role.
        when: It has an effect then.
        words: What it adds to the strategy in words; nothing where that is empty.
        since: Version of the space that it came with; at its default, keys are what they were before.
        needs: What every value but the default needs of the source's network.
        choice_needs: What single choices need.
        name, default: Of its field.
    """

    effect: str
    paper: str
    choices: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    unit: str = ""
    role: methods.Role | None = None
    when: Condition = ALWAYS
    words: Callable[[Any], str] = lambda strategy: ""
    since: int = 1
    needs: Trait | None = None
    choice_needs: Mapping[Scalar, Trait] = field(default_factory=dict)
    name: str = ""
    default: Any = None

    @property
    def kind(self) -> Kind:
        """Categorical, or the type of its numbers."""
        if self.choices or isinstance(self.default, str | bool):
            return "categorical"
        return "int" if isinstance(self.default, int) else "float"

    def lacks(self, value: Any, traits: frozenset[Trait]) -> Trait | None:
        """The trait that this value needs, where a source of these traits does not have it."""
        needed = self.needs if self.needs and value != self.default else self.choice_needs.get(value)
        return needed if needed is not None and needed not in traits else None

    def excluded_by(self, traits: frozenset[Trait]) -> tuple[str, ...]:
        """What a source of these traits cannot take of it, and why, in words."""
        missing = {value: TRAITS[need] for value, need in self._needed().items() if need not in traits}
        return tuple(f"{value} needs {what}: {why}" for value, (what, why) in missing.items())

    @property
    def needs_text(self) -> str:
        """What it needs of the source's network, in words; empty for nothing."""
        return ", ".join(f"{value} needs {TRAITS[need][0]}" for value, need in self._needed().items())

    def _needed(self) -> dict[Scalar, Trait]:
        whole: dict[Scalar, Trait] = {"any but its default": self.needs} if self.needs else {}
        return {**whole, **self.choice_needs}

    @property
    def condition(self) -> str:
        """When the dimension has an effect, in words; empty for always."""
        return self.when.text

    @property
    def range_text(self) -> str:
        """The range in words."""
        if self.kind == "categorical":
            return " | ".join(str(choice) for choice in self.choices) or "any source name"
        return f"{self.low:g}{self.unit} .. {self.high:g}{self.unit}{' (log)' if self.log else ''}"


def dimensions_of(model: type[BaseModel]) -> dict[str, Dimension]:
    """The dimensions that stand at a model's fields, by name.

    They come in the order in which they are decided: a condition refers only to what every strategy has.
    """
    found: dict[str, Dimension] = {}
    for name, stands in model.model_fields.items():
        (stated,) = (each for each in stands.metadata if isinstance(each, Dimension))
        choices = stated.choices or (methods.built_in(stated.role) if stated.role else ())
        found[name] = replace(stated, name=name, default=stands.default, choices=choices)
    return found


def groups_at(eighths: int, groups: int) -> int:
    """Map a depth in eighths to a number of layer groups, halves rounded up.

    Depths are fractions with a fixed range, so that one strategy means the same for networks with
    different numbers of groups.

    >>> [groups_at(k, 9) for k in range(9)]
    [0, 1, 2, 3, 5, 6, 7, 8, 9]
    """
    return (2 * eighths * groups + EIGHTHS) // (2 * EIGHTHS)
