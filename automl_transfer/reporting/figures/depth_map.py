"""Transfer depth against freeze depth: where on the map the good strategies lie."""

from __future__ import annotations

from collections import defaultdict

import plotly.graph_objects as go

from automl_transfer.domain.strategy import Strategy
from automl_transfer.reporting.effects import outcomes
from automl_transfer.reporting.figures.base import FigureSpec, figure, percent
from automl_transfer.reporting.study_report import StudyReport

Cell = tuple[int, int]


def _cell(strategy: Strategy) -> Cell | None:
    """(transfer depth, freeze depth) in eighths; None where what is trained is no suffix."""
    if not strategy.pretrained or strategy.tune_mode in ("closed_form", "norm", "bias"):
        return None
    if strategy.tune_mode == "head":
        return strategy.transfer_depth, 8
    return strategy.transfer_depth, int(strategy.active().get("freeze_depth", 0))


def _cells(report: StudyReport) -> dict[Cell, list[float]]:
    found: dict[Cell, list[float]] = defaultdict(list)
    for record, score in outcomes(report).trials:
        cell = _cell(record.strategy) if record.strategy else None
        if cell is not None:
            found[cell].append(score)
    return dict(found) if len(found) > 1 else {}


def describe(report: StudyReport) -> str:
    """The best cells by mean score."""
    cells = _cells(report)
    if not cells:
        return ""
    trials = sum(map(len, cells.values()))
    means = sorted(((sum(s) / len(s), cell) for cell, s in cells.items()), reverse=True)
    named = ", ".join(
        f"{transfer}/8 transferred and {freeze}/8 of it frozen ({percent(mean, 1)}, "
        f"{len(cells[transfer, freeze])})"
        for mean, (transfer, freeze) in means[:2]
    )
    return f"{trials} trials in {len(cells)} cells; the highest means (and their trials): {named}."


def draw(report: StudyReport) -> go.Figure | None:
    """A 9 x 9 map of mean scores; empty cells were not tried."""
    cells = _cells(report)
    if not cells:
        return None
    eighths = [f"{at}/8" for at in range(9)]
    mean = [
        [round(sum(s) / len(s), 4) if (s := cells.get((x, y))) else None for x in range(9)] for y in range(9)
    ]
    number = [[len(cells.get((x, y), ())) for x in range(9)] for y in range(9)]
    fig = figure(height=400)
    fig.add_trace(
        go.Heatmap(
            x=eighths,
            y=eighths,
            z=mean,
            customdata=number,
            text=[[str(n) if n else "" for n in row] for row in number],
            texttemplate="%{text}",
            textfont={"size": 11},
            colorscale="Cividis",
            xgap=2,
            ygap=2,
            colorbar={"tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
            hovertemplate="%{x} transferred, %{y} of it frozen<br><b>%{z:.1%}</b> mean of %{customdata} "
            "trials"
            "<extra></extra>",
            hoverongaps=False,
        )
    )
    fig.update_xaxes(title_text="transfer depth", showgrid=False, type="category")
    fig.update_yaxes(title_text="freeze depth", showgrid=False, type="category")
    return fig


FIGURE = FigureSpec(
    name="depth-map",
    section="families",
    title="Transfer depth and freeze depth",
    reads="Mean score at the deepest epoch that most trials reached; the number in a cell counts its trials. "
    "Training everything is drawn as 0/8 frozen, training the head only as 8/8.",
    describe=describe,
    draw=draw,
)
