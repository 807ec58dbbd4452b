"""All figures, in the order of the page. A new figure is one new file and one line here."""

from __future__ import annotations

from automl_transfer.reporting.figures import (
    accuracy_over_time,
    calibration,
    compute,
    confirmation,
    confusion,
    curves,
    depth_map,
    families,
    importances,
    pareto_fronts,
    partial,
    profile,
    pruning_audit,
)
from automl_transfer.reporting.figures.base import FigureSpec

FIGURES: dict[str, FigureSpec] = {
    spec.name: spec
    for spec in (
        accuracy_over_time.FIGURE,
        confirmation.FIGURE,
        families.FIGURE,
        importances.FIGURE,
        partial.FIGURE,
        depth_map.FIGURE,
        profile.FIGURE,
        *pareto_fronts.FIGURES,
        compute.FIGURE,
        pruning_audit.FIGURE,
        curves.FIGURE,
        confusion.FIGURE,
        calibration.FIGURE,
    )
}
