"""Every figure, on studies of every kind: drawn where there is something to show, and said in words."""

from __future__ import annotations

import json

import plotly.graph_objects as go
import pytest
from studies_by_hand import make_study

from automl_transfer.reporting.figures.registry import FIGURES
from automl_transfer.reporting.study_report import StudyReport


@pytest.fixture(scope="module")
def study() -> StudyReport:
    return make_study()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_and_described(study: StudyReport, name: str) -> None:
    spec = FIGURES[name]
    assert spec.name == name
    drawn = spec.draw(study)
    assert isinstance(drawn, go.Figure)
    assert len(drawn.data) > 0
    json.loads(drawn.to_json())
    text = spec.describe(study)
    assert len(text) > 20
    assert text.endswith(".")
    assert "nan" not in text.lower().split()


@pytest.mark.parametrize("name", FIGURES)
def test_where_nothing_can_be_shown_nothing_is_drawn_or_said(name: str) -> None:
    empty = make_study(0, extras=False)
    assert FIGURES[name].draw(empty) is None
    assert FIGURES[name].describe(empty) == ""
