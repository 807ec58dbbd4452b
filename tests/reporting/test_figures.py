"""Every figure, on studies of every kind: drawn where there is something to show, and said in words."""

from __future__ import annotations

import json

import plotly.graph_objects as go
import pytest
from studies_by_hand import make_study, profile
from trials_by_hand import epoch, make_task, trial

from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.reporting.figures.compute import spending
from automl_transfer.reporting.figures.registry import FIGURES
from automl_transfer.reporting.study_report import StudyReport, make_report


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


def test_what_is_paused_is_no_pruned_trial_in_any_figure() -> None:
    waits = StopReason(kind=StopKind.PAUSED, detail="after epoch 1 of 3")
    records = [
        trial(0, 0.8, 0.9),
        trial(1, 0.5, state=TrialState.PRUNED, minutes=1.0),
        trial(2, 0.6, state=TrialState.PRUNED, minutes=2.0).model_copy(update={"stop": waits}),
    ]
    report = make_report("s", make_task(), None, records)
    spent = spending(report)
    assert spent.by_fate == {"complete": 4.0, "pruned": 2.0, "paused": 2.0}
    assert spent.saved == spending(make_report("s", make_task(), None, records[:2])).saved
    for name in ("compute", "accuracy-over-time"):
        drawn = FIGURES[name].draw(report)
        assert drawn is not None
        assert {"pruned", "paused", "complete"} <= {trace.name for trace in drawn.data}
    assert "25% on paused trials" in FIGURES["compute"].describe(report)


def test_a_search_for_robustness_has_axes_that_can_be_read() -> None:
    tuned = Strategy(truncation=4, tune_mode="head", head_init="he").canonical()
    curve = tuple(epoch(n, 0.98, other=share) for n, share in enumerate((0.001, 0.005), 1))
    record = trial(0, 0.98, strategy=tuned).model_copy(update={"epochs": curve})
    report = make_report("s", make_task(metric="robust-8"), None, [record], profiles=[profile()])
    curves, points = (FIGURES[name].draw(report) for name in ("curves", "profile"))
    assert curves is not None
    assert list(curves.data[0].y) == [0.001, 0.005]
    assert curves.layout.yaxis.tickformat == ".2%"
    assert points is not None
    # Beside the profile's accuracies stands that of the trained model, not what it has under attack.
    assert list(points.data[-1].y) == [0.98]
