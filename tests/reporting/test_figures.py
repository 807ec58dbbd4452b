"""Every figure, on studies of every kind: drawn where there is something to show, and said in words."""

from __future__ import annotations

import json

import plotly.graph_objects as go
import pytest
from studies_by_hand import make_study, profile, spec
from trials_by_hand import epoch, make_task, trial

from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.reporting.comparison import compare
from automl_transfer.reporting.figures.compute import spending
from automl_transfer.reporting.figures.confusion import draw_cells
from automl_transfer.reporting.figures.registry import FIGURES
from automl_transfer.reporting.html.compare_page import compare_page
from automl_transfer.reporting.plain import labels
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


def test_what_begins_alike_is_a_line_each() -> None:
    """Labels were cut after 32 letters, and two sources with one label were one line of the axis."""
    long = "checkpoint/timm/vit_base_patch16_clip_224.openai_ft_in12k"
    sources = (f"{long}_a", f"{long}_b")
    records = [
        trial(n, 0.5 + 0.01 * n, strategy=Strategy(source=sources[n % 2], truncation=3).canonical())
        for n in range(8)
    ]
    reports = [make_report(name, make_task(), spec(name), records) for name in ("one", "two")]
    drawn = FIGURES["families"].draw(reports[0])
    assert drawn is not None
    assert len(set(drawn.data[-1].y)) == len(drawn.data[-1].y) == 2
    assert {label[-2:] for label in drawn.data[-1].y} == {"_a", "_b"}
    page = compare_page(reports)
    assert all(label in page for label in drawn.data[-1].y)


def test_classes_that_begin_alike_are_told_apart() -> None:
    classes = [f"{'a class of a long name ' * 3}{number}" for number in range(30)]
    bars = draw_cells(classes, [(0, 1, 3), (0, 2, 2)])
    assert bars is not None
    assert len(set(bars.data[0].y)) == 2
    matrix = draw_cells(classes[:3], [(0, 1, 3)])
    assert matrix is not None
    assert len(set(matrix.layout.xaxis.ticktext)) == 3


def test_studies_of_one_dataset_that_begin_alike_are_a_line_each() -> None:
    reports = [make_study(name=f"{'a study of a long name ' * 3}{number}", seed=number) for number in (1, 2)]
    assert len(set(compare(reports).names)) == 2


def test_labels_are_never_alike() -> None:
    same, long = "\x01same", "x" * 50
    assert labels([same, "\x02same", long, long, "y"], 40)[:2] == ["\N{REPLACEMENT CHARACTER}same",
                                                                 "\N{REPLACEMENT CHARACTER}same (2)"]  # fmt: skip
    found = labels([long, f"{long}z", long, "y"], 40)
    assert len(set(found)) == 4
    assert found[3] == "y"
