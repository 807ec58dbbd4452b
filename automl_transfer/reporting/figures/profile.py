"""The profile: how good a solved head is at every cut, beside what training reached there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import plotly.graph_objects as go

from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.words import images_at
from automl_transfer.reporting.candidates import ranked_epoch
from automl_transfer.reporting.figures.base import (
    BLUE,
    GREEN,
    ORANGE,
    SKY,
    FigureSpec,
    figure,
    percent,
    trial_points,
)
from automl_transfer.reporting.plain import labels, plain, seconds
from automl_transfer.reporting.study_report import StudyReport

GRIDS = {1: SKY, 2: ORANGE, 4: GREEN}
DASHES = ("solid", "dash", "dot", "dashdot")


def describe(report: StudyReport) -> str:
    """The best cut of each source, and what the last one would have given."""
    parts = []
    for profile in report.profiles:
        if not profile.cuts:
            continue
        best = profile.best or min(profile.cuts, key=lambda cut: (cut.loo_nll, -cut.loo_accuracy))
        usual = [c for c in profile.cuts if c.grid == 1 and c.resolution_scale == 1.0]
        last = max(usual, key=lambda c: c.cut, default=best)
        parts.append(
            f"{plain(profile.source, 60)}: a solved head is best {best.where} "
            f"({percent(best.loo_accuracy, 1)}), against {percent(last.loo_accuracy, 1)} on the usual last "
            f"features; {seconds(profile.seconds)} for all cuts"
        )
    return "; ".join(parts) + "." if parts else ""


def draw(report: StudyReport) -> go.Figure | None:
    """Lines are solved heads, points are complete trained trials at their cut."""
    profiles = [profile for profile in report.profiles if profile.cuts]
    if not profiles:
        return None
    fig = draw_profiles(profiles)
    for profile in profiles:
        points = _trained(report, profile.source, {c.truncation: c.cut for c in profile.cuts if c.truncation})
        if points:
            fig.add_trace(
                trial_points(
                    report,
                    [record for record, _, _ in points],
                    [cut for _, cut, _ in points],
                    [score for _, _, score in points],
                    name="trained trials, validation",
                    color=BLUE,
                    symbol="diamond",
                )
            )
    return fig


def draw_profiles(profiles: Sequence[ProfileRecord]) -> go.Figure:
    """Accuracy of solved heads over the cuts of each source."""
    fig = figure()
    sources = labels([profile.source for profile in profiles], 30)
    for at, profile in enumerate(profiles):
        scales = sorted({cut.resolution_scale for cut in profile.cuts})
        for (grid, color), scale in itertools.product(GRIDS.items(), scales):
            cuts = sorted(
                (c for c in profile.cuts if c.grid == grid and c.resolution_scale == scale),
                key=lambda c: c.cut,
            )
            if cuts:
                name = f"solved head, pooled {grid}x{grid}"
                name += f", {images_at(scale, detail=cuts[0].detail)}" if scale != 1.0 else ""
                dash = DASHES[(at * len(scales) + scales.index(scale)) % len(DASHES)]
                fig.add_trace(
                    go.Scatter(
                        x=[cut.cut for cut in cuts],
                        y=[round(cut.loo_accuracy, 5) for cut in cuts],
                        mode="lines+markers",
                        name=f"{sources[at]}: {name}" if len(sources) > 1 else name,
                        line={"color": color, "width": 2, "dash": dash},
                        customdata=[cut.features for cut in cuts],
                        hovertemplate="<b>%{y:.2%}</b> by leave-one-out after group %{x}<br>"
                        "%{customdata} features<extra></extra>",
                    )
                )
    fig.update_xaxes(title_text="groups of the source that are kept", dtick=1)
    fig.update_yaxes(title_text="accuracy", tickformat=".0%")
    return fig


def _trained(
    report: StudyReport, source: str, cuts: dict[int | None, int]
) -> list[tuple[TrialRecord, float, float]]:
    """Accuracies, as the profile's are, whatever the study's metric is."""
    points = []
    for record in report.complete:
        s = record.strategy
        if s is None or s.source != source or s.tune_mode == "closed_form" or not record.epochs:
            continue
        if s.truncation in cuts:
            score = ranked_epoch(record, report.metric).score("accuracy")
            points.append((record, float(cuts[s.truncation]), score))
    return points


FIGURE = FigureSpec(
    name="profile",
    section="families",
    title="The profile: what each cut knows",
    reads="Lines: a head solved in closed form on the frozen source, judged by leave-one-out on training "
    "images. "
    "Diamonds: complete trained trials, judged on validation images, so the two are close, not equal, "
    "measures.",
    describe=describe,
    draw=draw,
)
