"""A short look at each parser; `make fuzz` takes ten minutes, with other examples each time."""

from __future__ import annotations

import warnings

import pytest
from fuzz import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("kind", TARGETS)
def test_any_example_is_understood_or_refused_in_words(kind: str) -> None:
    check, strategies = TARGETS[kind]
    short = settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        short(given(st.tuples(*strategies))(lambda made: check(*made)))()
