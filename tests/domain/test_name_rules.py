"""One rule for names: what passes can be shipped and read again (FINDINGS E3, E4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from automl_transfer.domain.names import (
    MAX_LABELS_BYTES,
    classes_mistake,
    is_local,
    name_mistake,
    public_name,
    study_mistake,
)
from automl_transfer.domain.spec import StudySpec, TaskSpec


@pytest.mark.parametrize("name", ["~", "~old", "quick", "猫 und hund", "a.b", ".hidden", "x" * 200, "-x"])
def test_names_that_may_be(name: str) -> None:
    assert StudySpec(name=name, task=TaskSpec(dataset="d")).name == name
    assert name_mistake(name) is None
    assert not is_local(public_name(name))


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "not be empty"),
        ("a/b", "without slashes"),
        ("a\\b", "without slashes"),
        (".", "without slashes"),
        ("..", "without slashes"),
        ("a\x1b[31m", "control character"),
        ("a\x85", "control character"),
        ("a\ud800", "half a character"),
        ("a\u2028b", "line end"),
        ("x" * 201, "at most 200 characters, got 201"),
    ],
)
def test_names_that_may_not_be(name: str, rule: str) -> None:
    assert rule in str(study_mistake(name))
    with pytest.raises(ValidationError, match=rule):
        StudySpec(name=name, task=TaskSpec(dataset="d"))


@given(st.text())
def test_a_public_name_is_never_a_place(name: str) -> None:
    assert not is_local(public_name(name))


def test_classes_that_cannot_be_shipped() -> None:
    assert classes_mistake(["a", "b"]) is None
    assert "a class name must not be empty" in str(classes_mistake(["a", ""]))
    assert "control character" in str(classes_mistake(["a", "b\n"]))
    assert "at most 100,000 classes, got 100,001" in str(classes_mistake([str(n) for n in range(100_001)]))
    long = [f"{n:06}" + "x" * 400 for n in range(14_000)]
    assert f"at most {MAX_LABELS_BYTES:,} bytes" in str(classes_mistake(long))
