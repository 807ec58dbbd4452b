"""All figures, in the order of the page. A new figure is one new file and one line here."""

from __future__ import annotations

from automl_transfer.reporting.figures import accuracy_over_time, compute, curves
from automl_transfer.reporting.figures.base import FigureSpec

FIGURES: dict[str, FigureSpec] = {
    module.FIGURE.name: module.FIGURE
    for module in (
        accuracy_over_time,
        curves,
        compute,
    )
}
