"""A figure of another package: how many trials there are."""

from automl_transfer.reporting.figures.base import FigureSpec, figure


def draw(report):
    made = figure()
    made.add_bar(x=["trials"], y=[len(report.records)])
    return made


FIGURE = FigureSpec(
    name="how-many",
    section="cost",
    title="How many trials",
    reads="One bar.",
    describe=lambda report: f"{len(report.records)} trials in all.",
    draw=draw,
)
