"""All figures, in the order of the page. A new figure is one new file and one line here.

From another package, it is an entry point in the group `automl_transfer.figures` that gives a `FigureSpec`.
"""

from __future__ import annotations

import logging

from automl_transfer import plugins
from automl_transfer.errors import ConfigurationError
from automl_transfer.reporting.figures import (
    accuracy_over_time,
    calibration,
    compute,
    confirmation,
    confusion,
    curves,
    depth_map,
    exposure,
    families,
    importances,
    pareto_fronts,
    partial,
    profile,
    pruning_audit,
    reconstructions,
    robustness,
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
        reconstructions.FIGURE,
        *pareto_fronts.FIGURES,
        robustness.FIGURE,
        compute.FIGURE,
        pruning_audit.FIGURE,
        curves.FIGURE,
        confusion.FIGURE,
        calibration.FIGURE,
        exposure.FIGURE,
    )
}

logger = logging.getLogger(__name__)


def all_figures() -> dict[str, FigureSpec]:
    """Those built in, then those of other packages; one that is broken is warned of and left out."""
    found = dict(FIGURES)
    for name in plugins.names("figures", FIGURES.keys()):
        try:
            found[name] = plugins.load(
                "figures", name, lambda figure: isinstance(figure, FigureSpec), "a FigureSpec"
            )
        except ConfigurationError as error:
            logger.warning("a figure is left out: %s", error)
    return found
