"""Raw columns of one row made into values. What cannot be read is an `UnreadableRowError` of that row alone.

Rows are selected with `raw` columns: a type that the database does not enforce (an enumeration or a time on
SQLite) would else end the whole query at its first odd row.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    json_to_distribution,
)
from optuna.trial import TrialState as OptunaState
from pydantic import BaseModel, ValidationError

from automl_transfer.domain.strict_json import mistakes
from automl_transfer.errors import UnreadableRowError

M = TypeVar("M", bound=BaseModel)

_KEPT = 10_000
_distributions: dict[str, BaseDistribution] = {}


def raw(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A column as the driver gives it."""
    return sa.type_coerce(column, sa.String).label(getattr(column, "name", None))


def whole(value: Any, what: str) -> int:
    """A number that counts from 0."""
    if type(value) is not int or value < 0:
        raise UnreadableRowError(f"its {what} must be a whole number from 0, got {_short(value)}")
    return value


def state(value: Any) -> OptunaState:
    """A trial's state."""
    try:
        return OptunaState[value]
    except KeyError:
        names = ", ".join(each.name for each in OptunaState)
        raise UnreadableRowError(f"its state must be one of {names}, got {_short(value)}") from None


def moment(value: Any) -> datetime | None:
    """A time in UTC; databases keep it without the zone."""
    if value is None:
        return None
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise UnreadableRowError(f"its times must be dates, got {_short(value)}") from None
    return time.replace(tzinfo=UTC)


def since_1970(seconds: Any, what: str) -> datetime:
    """A time in UTC, from seconds since 1970."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise UnreadableRowError(f"its {what} must be seconds since 1970, got {_short(seconds)}") from None


def model(kind: type[M], text: Any, what: str) -> M:
    """A model from its JSON. Fields that are only too many were written by a newer program."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        newer = all(each["type"] == "extra_forbidden" for each in error.errors(include_url=False))
        found = "; ".join(mistakes(error)[:3])
    said = "a newer automl-transfer wrote it: " if newer else ""
    raise UnreadableRowError(f"its {what} cannot be read: {said}{found}", newer=newer)


def number(value: Any, kind: Any, what: str) -> float:
    """A float as it was given: infinities, and NaN where it may be, stand in `kind`."""
    odd = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}.get(str(kind))
    if odd is not None:
        return odd
    if kind != "FINITE" or isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise UnreadableRowError(f"its {what} must be a number, got {_short(value)} ({_short(kind)})")
    return float(value)


def rung(key: str, text: Any) -> float:
    """What a pruner noted about a trial at a rung."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableRowError(f"its {key} must be a number, got {_short(text)}")
    return float(value)


def distribution(text: Any, name: str) -> BaseDistribution:
    """A distribution from its JSON; parsed once for each text."""
    known = _distributions.get(text) if isinstance(text, str) else None
    if known is None:
        if len(_distributions) > _KEPT:
            _distributions.clear()
        try:
            known = json_to_distribution(text)
        # Optuna builds whatever class the JSON names: the constructors raise what they like.
        except Exception:
            raise UnreadableRowError(
                f"the distribution of its parameter {name} cannot be read, got {_short(text)}"
            ) from None
        _distributions[text] = known
    return known


def matches(known: BaseDistribution | None, found: BaseDistribution, name: str) -> None:
    """Refuse a distribution of another kind, scale or choices than the study's: samplers read them as one."""
    if known is None or known is found:
        return
    try:
        check_distribution_compatibility(known, found)
    except ValueError:
        raise UnreadableRowError(
            f"its parameter {name} must have the study's distribution {known}, got {found}"
        ) from None


def parameter(found: BaseDistribution, value: Any, name: str) -> Any:
    """A parameter as people read it."""
    sound = isinstance(value, int | float) and math.isfinite(value) and found._contains(value)
    if not sound:
        raise UnreadableRowError(f"its parameter {name} must lie in {found}, got {_short(value)}")
    return found.to_external_repr(value)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
