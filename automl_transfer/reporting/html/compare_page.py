"""The page that compares several studies: who wins where, and what so many datasets can support."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from automl_transfer import __version__
from automl_transfer.reporting.comparison import Comparison, compare, headline, never_ruled_out, score_of
from automl_transfer.reporting.effects import family_of
from automl_transfer.reporting.figures.base import (
    BLUE,
    FAMILIES,
    GRAY,
    LONGEST,
    figure,
    percent,
    share_format,
)
from automl_transfer.reporting.html.document import ShownFigure, page, shown
from automl_transfer.reporting.plain import labels, plain
from automl_transfer.reporting.study_report import StudyReport


def compare_page(reports: Sequence[StudyReport]) -> str:
    """The whole page as text."""
    found = compare(reports)
    figures = _figures(found)
    return page(
        "compare.html.j2",
        {name: each.value for name, each in figures.items()},
        {},
        title=f"{len(reports)} studies compared",
        name=f"{len(reports)} studies",
        contents=[("winners", "Winners"), ("families", "Families"), ("studies", "Studies")],
        answer=headline(found, len(reports)),
        claim=" ".join(filter(None, (never_ruled_out(found), found.claim))),
        found=found,
        rows=[
            (name, report, report.ranking.rows[0], family_of(report.ranking.rows[0].strategy))
            for name, report in zip(found.names, found.reports, strict=True)
        ],
        without=[plain(report.study, 60) for report in reports if not report.ranking.rows],
        datasets=len(found.datasets),
        figures={name: figures.get(name) for name in ("winners", "average-ranks", "effects")},
        version=__version__,
    )


def _figures(found: Comparison) -> dict[str, ShownFigure]:
    made = (_winners(found), _ranks(found), _effects(found))
    return {each.name: each for each in made if each is not None}


def _winners(found: Comparison) -> ShownFigure | None:
    if not found.reports:
        return None
    names = [html.escape(name) for name in found.names]
    fig = figure(height=150 + 54 * len(names))
    for family, (color, symbol) in FAMILIES.items():
        points = [
            (name, each[family]) for name, each in zip(names, found.best, strict=True) if family in each
        ]
        if not points:
            continue
        fig.add_trace(
            go.Scatter(
                x=[round(score_of(row), 5) for _, row in points],
                y=[name for name, _ in points],
                mode="markers",
                name=family,
                marker={"color": color, "symbol": symbol, "size": 12},
                customdata=[
                    [
                        html.escape(plain(row.description, 200)),
                        "confirmed" if row.confirmation else "validation",
                    ]
                    for _, row in points
                ],
                hovertemplate="<b>%{x:.2%}</b> %{customdata[1]}<br>%{customdata[0]}<extra></extra>",
            )
        )
    scores = [score_of(row) for each in found.best for row in each.values()]
    fig.update_xaxes(title_text="score", tickformat=share_format(scores))
    fig.update_yaxes(
        type="category", autorange="reversed", showgrid=False, categoryorder="array", categoryarray=names
    )
    text = "; ".join(
        f"{name}: {family_of(row.strategy)} {percent(score_of(row))}"
        for name, row in ((n, r.ranking.rows[0]) for n, r in zip(found.names, found.reports, strict=True))
    )
    return shown(
        "winners", "The best of each family, by dataset",
        "One line a dataset; the score is the confirmed one where there is one, else the validation score.",
        text + ".", fig,
    )  # fmt: skip


def _ranks(found: Comparison) -> ShownFigure | None:
    if not found.ranked:
        return None
    names = [each.family for each in found.ranked]
    fig = figure(height=120 + 40 * len(names), showlegend=False)
    for each in found.ranked:
        if each.interval is not None:
            fig.add_trace(
                go.Scatter(
                    x=list(each.interval), y=[each.family] * 2, mode="lines",
                    line={"color": GRAY, "width": 2}, hoverinfo="skip",
                )
            )  # fmt: skip
    fig.add_trace(
        go.Scatter(
            x=[round(each.mean, 3) for each in found.ranked],
            y=names,
            mode="markers",
            marker={"color": [FAMILIES.get(name, (BLUE, ""))[0] for name in names], "size": 13},
            customdata=[", ".join(f"{rank:g}" for rank in each.ranks) for each in found.ranked],
            hovertemplate="%{y}: <b>%{x:.2f}</b><br>ranks %{customdata}<extra></extra>",
        )
    )
    fig.update_xaxes(title_text="average rank (1 is best)", range=[0.8, len(names) + 0.2], dtick=1)
    fig.update_yaxes(autorange="reversed", showgrid=False)
    parts = [
        f"{each.family} {each.mean:.2f}"
        + (f" ({each.interval[0]:.1f} to {each.interval[1]:.1f})" if each.interval else "")
        for each in found.ranked
    ]
    return shown(
        "average-ranks", "Average ranks",
        "Over the families that every dataset has; bars are 95% intervals over datasets, which here stand "
        "for all "
        "datasets like them.",
        ", ".join(parts) + ".", fig,
    )  # fmt: skip


def _effects(found: Comparison) -> ShownFigure | None:
    families = list(dict.fromkeys((e.choice, e.level) for each in found.effects for e in each))
    if not families:
        return None
    by_study = [{(e.choice, e.level): e for e in each} for each in found.effects]
    values, texts, clear = [], [], 0
    for family in families:
        row, words = [], []
        for each in by_study:
            effect = each.get(family)
            row.append(None if effect is None else round(100 * effect.difference, 2))
            sure = effect is not None and (effect.interval[0] > 0 or effect.interval[1] < 0)
            clear += sure
            words.append("" if effect is None else f"{100 * effect.difference:+.1f}{'*' if sure else ''}")
        values.append(row)
        texts.append(words)
    widest = max(abs(value) for row in values for value in row if value is not None) or 1.0
    fig = figure(height=110 + 28 * len(families))
    fig.add_trace(
        go.Heatmap(
            x=[html.escape(name) for name in found.names],
            y=[html.escape(name) for name in labels([": ".join(each) for each in families], LONGEST)],
            z=values,
            text=texts,
            texttemplate="%{text}",
            colorscale=[[0, "#D55E00"], [0.5, "rgba(128,128,128,.10)"], [1, "#0072B2"]],
            zmin=-widest,
            zmax=widest,
            xgap=2,
            ygap=2,
            showscale=False,
            hovertemplate="%{y}<br>on %{x}: <b>%{z:+.1f} points</b><extra></extra>",
            hoverongaps=False,
        )
    )
    fig.update_xaxes(side="top", type="category", showgrid=False)
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return shown(
        "effects", "What helps where",
        "Mean score of a family's trials minus that of all others, in points, at the deepest epoch that "
        "most trials "
        "of the dataset reached. A star: the 95% interval of this one comparison leaves zero out.",
        f"{len(families)} families on {len(found.names)} datasets; {clear} differences have an interval "
        "without zero, "
        f"about {0.05 * sum(map(len, found.effects)):.0f} would by chance.",
        fig,
    )  # fmt: skip
