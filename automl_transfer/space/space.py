"""The space of one study: which dimensions are searched, over which range, and which are fixed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from automl_transfer.domain import methods
from automl_transfer.domain.dimensions import CLOSED_FORM, CO_TUNING, EIGHTHS, TRAITS, Dimension, Trait
from automl_transfer.domain.spec import DimensionSetting, StudySpec
from automl_transfer.domain.strategy import DIMENSIONS, Strategy
from automl_transfer.domain.task import Task
from automl_transfer.errors import ConfigurationError

SEARCH = "search"

WRONG_MIRRORED: Mapping[str, tuple[Any, ...]] = {"mirror": (True,), "augmentation": ("flip_affine",)}
"""Choices that mirror images, by dimension."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Space:
    """Searched dimensions (in table order) and fixed values.

    Attributes:
        searched: Dimensions with the range of this study.
        fixed: Every other dimension's value: as set in the study, or its default.
    """

    searched: tuple[Dimension, ...]
    fixed: Mapping[str, Any]

    @classmethod
    def from_settings(cls, settings: Mapping[str, DimensionSetting]) -> Space:
        """Build the space that a study's `[space]` table describes.

        Raises:
            ConfigurationError: With every mistake, each under its key.
        """
        mistakes: list[str] = []
        searched: list[Dimension] = []
        fixed: dict[str, Any] = {}
        for name in settings:
            if name not in DIMENSIONS:
                known = ", ".join(DIMENSIONS)
                mistakes.append(f"space.{name}: must be one of the dimensions {known}, got {name!r}")
        for name, dimension in DIMENSIONS.items():
            if name not in settings:
                fixed[name] = dimension.default
                continue
            try:
                narrowed = _narrow(dimension, settings[name])
            except ValueError as error:
                mistakes.append(f"space.{name}: {error}")
                continue
            if isinstance(narrowed, Dimension):
                searched.append(narrowed)
            else:
                fixed[name] = narrowed[0]
        if fixed.get("tune_mode") == CLOSED_FORM and "head_init" in settings:
            offered = next((d.choices for d in searched if d.name == "head_init"), (fixed.get("head_init"),))
            if "ridge" not in offered and offered != (None,):
                got = " | ".join(str(choice) for choice in offered)
                mistakes.append(f"space.head_init: must be ridge where tune_mode is closed_form, got {got}")
        if fixed.get("anchor") == CO_TUNING:
            mistakes += [
                f"space.{name}: must be {EIGHTHS} where anchor is {CO_TUNING}, got "
                f"{fixed.get(name, 'a range')}: the source's classifier reads its whole network"
                for name in ("truncation", "transfer_depth")
                if fixed.get(name) != EIGHTHS
            ]
        if mistakes:
            raise ConfigurationError(mistakes)
        return cls(tuple(searched), fixed)

    @classmethod
    def of_study(cls, spec: StudySpec) -> Space:
        """The space of a stored study, as far as this program knows it.

        A dimension that a newer program brought is left out, with a warning: strategies that are drawn here
        have it at the value where it does nothing.

        Raises:
            ConfigurationError: A dimension has a choice that is not known here.
        """
        settings = spec.space
        new = sorted(settings.keys() - DIMENSIONS.keys())
        if new:
            log.warning(
                "the study has dimensions of a newer automl-transfer, left out here: %s", ", ".join(new)
            )
        return cls.from_settings({name: value for name, value in settings.items() if name in DIMENSIONS})

    def suited(self, task: Task) -> Space:
        """Without choices that would change the class of this task's images; what is fixed stays."""
        wrong = {} if task.may("mirror") else WRONG_MIRRORED
        searched, fixed = [], dict(self.fixed)
        for dimension in self.searched:
            choices = tuple(c for c in dimension.choices if c not in wrong.get(dimension.name, ()))
            if len(choices) == len(dimension.choices):
                searched.append(dimension)
            elif len(choices) == 1:
                fixed[dimension.name] = choices[0]
            else:
                searched.append(replace(dimension, choices=choices))
        return Space(tuple(searched), fixed)

    def warn_of(self, task: Task) -> None:
        """Say which fixed values may change the class of this task's images."""
        for name, choices in WRONG_MIRRORED.items():
            if self.fixed.get(name) in choices and not task.may("mirror"):
                log.warning(
                    "%s is %s, and mirrored images of %s may be of another class, or none: "
                    'say label_preserving = ["mirror"] for the task where they are not',
                    name, self.fixed[name], task.name,
                )  # fmt: skip

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that this space can propose."""
        for dimension in self.searched:
            if dimension.name == "source":
                return tuple(str(choice) for choice in dimension.choices)
        return (str(self.fixed["source"]),)

    def default(self) -> Strategy:
        """The default strategy: every dimension at its default, or at the nearest value in range."""
        return self.nearest({})

    def nearest(self, wanted: Mapping[str, Any]) -> Strategy:
        """A strategy of this space: searched dimensions as wanted (or at their default), or nearest."""
        values = dict(self.fixed)
        for dimension in self.searched:
            values[dimension.name] = _nearest(dimension, wanted.get(dimension.name, dimension.default))
        return Strategy.of(values)


def unknown_methods(settings: Mapping[str, DimensionSetting]) -> list[str]:
    """The mistakes of a `[space]` table that names methods which are not installed here, each under its key.

    A space can be read without them: only who wants to run it needs them.
    """
    mistakes = []
    for name, setting in settings.items():
        role = DIMENSIONS[name].role if name in DIMENSIONS else None
        for value in setting if isinstance(setting, tuple) else (setting,):
            if role is None or value == SEARCH:
                continue
            try:
                methods.check(role, str(value))
                if value not in methods.built_in(role):
                    methods.get(role, str(value))  # a plugin that is broken is known before anything begins
            except ConfigurationError as error:
                mistakes.append(f"space.{name}: {str(error).removeprefix(f'{role} ')}")
    return mistakes


def cannot_take(
    settings: Mapping[str, DimensionSetting], traits: Mapping[str, frozenset[Trait]]
) -> list[str]:
    """The mistakes of a `[space]` table that asks of its sources what these do not have, each under its key.

    Args:
        settings: The table.
        traits: Of each pretrained source of the space.
    """
    mistakes = []
    for name, setting in settings.items():
        dimension, listed = DIMENSIONS[name], isinstance(setting, tuple)
        if setting == SEARCH or (listed and dimension.kind != "categorical"):
            continue
        for value in setting if isinstance(setting, tuple) else (setting,):
            missing = {s: lack for s, found in traits.items() if (lack := dimension.lacks(value, found))}
            if not missing or (listed and len(missing) < len(traits)):
                continue  # what one source cannot take, another one may be drawn with
            source, trait = next(iter(missing.items()))
            what, why = TRAITS[trait]
            mistakes.append(
                f"space.{name}: {value} needs {what}, got the source {source} ({why}): take another value "
                "or another source"
            )
    return mistakes


def _narrow(dimension: Dimension, setting: DimensionSetting) -> Dimension | tuple[Any]:
    """A searched dimension with the study's range, or the fixed value as a 1-tuple."""
    if isinstance(setting, str) and setting == SEARCH:
        if dimension.kind == "categorical" and not dimension.choices:
            raise ValueError('must be a name or a list of names, got "search": no list of all sources exists')
        return dimension if len(dimension.choices) != 1 else (dimension.choices[0],)
    if isinstance(setting, tuple):
        if dimension.kind == "categorical":
            if not setting:
                raise ValueError("must name at least one choice, got an empty list")
            if len(set(setting)) != len(setting):
                raise ValueError(f"choices must differ from one another, got {list(setting)}")
            choices = tuple(_checked(dimension, value) for value in setting)
            return replace(dimension, choices=choices) if len(choices) > 1 else (choices[0],)
        if len(setting) != 2:
            raise ValueError(f"must be [low, high], got {list(setting)}")
        low, high = (_checked(dimension, value) for value in setting)
        if low > high:
            raise ValueError(f"low must be <= high, got [{low:g}, {high:g}]")
        if dimension.log and low <= 0.0:
            raise ValueError(f"low must be > 0, because the scale is logarithmic, got [{low:g}, {high:g}]")
        return replace(dimension, low=low, high=high) if low < high else (low,)
    return (_checked(dimension, setting),)


def _checked(dimension: Dimension, value: Any) -> Any:
    """The value as the strategy takes it, or ValueError with the rule and the value."""
    floats = dimension.kind == "float" or any(isinstance(each, float) for each in dimension.choices[:1])
    if floats and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            raise ValueError("must be a number that a float can hold, got one that is too large") from None
    if dimension.kind != "categorical":
        wanted = int if dimension.kind == "int" else float
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ValueError(f"must be {'a whole' if wanted is int else 'a'} number, got {value!r}")
        if not dimension.low <= value <= dimension.high:
            # A fixed or searched value outside the table's range is allowed where the strategy allows it.
            _validated(dimension.name, value)
        return value
    return _validated(dimension.name, value)


def _validated(name: str, value: Any) -> Any:
    probe: dict[str, Any] = {name: value}
    try:
        return getattr(Strategy.model_validate(probe, strict=True), name)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['msg'][0].lower()}{first['msg'][1:]}, got {value!r}") from None


def _nearest(dimension: Dimension, value: Any) -> Any:
    if dimension.kind == "categorical":
        return value if value in dimension.choices else dimension.choices[0]
    bounded = min(max(value, dimension.low), dimension.high)
    return int(bounded) if dimension.kind == "int" else float(bounded)
