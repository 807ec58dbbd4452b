"""The page of an evaluation: the answer, what is wrong, and how far the probabilities can be believed."""

from __future__ import annotations

from automl_transfer import __version__
from automl_transfer.reporting.evaluation import Evaluation
from automl_transfer.reporting.evaluation_text import (
    calibration,
    least_recall_first,
    left_out,
    percent_or_dash,
)
from automl_transfer.reporting.figures import calibration as calibration_figure
from automl_transfer.reporting.figures import confusion as confusion_figure
from automl_transfer.reporting.html.document import ShownFigure, page, shown
from automl_transfer.reporting.plain import plain

MOST_CLASSES = 500


def evaluation_page(found: Evaluation) -> str:
    """The whole page as text."""
    figures = _figures(found)
    classes = least_recall_first(found)
    contents = [("errors", "Errors"), ("classes", "Classes"), ("thresholds", "Thresholds")]
    low, high = found.interval
    return page(
        "evaluation.html.j2",
        {each.name: each.value for each in figures.values()},
        {},
        title=plain(f"{found.model} on {found.dataset}: evaluation", 120),
        name=plain(f"{found.model} on {found.dataset}", 80),
        contents=contents,
        found=found,
        interval_words=f"95%: {100 * low:.1f} to {100 * high:.1f}%",
        caveats=[*found.notes, *left_out(found)],
        calibration=calibration(found),
        classes=classes[:MOST_CLASSES],
        more_classes=max(0, len(classes) - MOST_CLASSES),
        others=sum(found.not_judged.other_classes.values()),
        dash=percent_or_dash,
        figures={name: figures.get(name) for name in ("confusion", "calibration")},
        version=__version__,
    )


def _figures(found: Evaluation) -> dict[str, ShownFigure]:
    cells = [(each.truth, each.answer, each.images) for each in found.confusion]
    specs = (
        (
            confusion_figure.FIGURE,
            confusion_figure.describe_cells(found.classes, cells, found.images),
            confusion_figure.draw_cells(found.classes, cells),
        ),
        (
            calibration_figure.FIGURE,
            calibration_figure.describe_bins(found.calibration, found.expected_calibration_error),
            calibration_figure.draw_bins(found.calibration),
        ),
    )
    return {
        spec.name: shown(spec.name, spec.title, spec.reads, text, drawn)
        for spec, text, drawn in specs
        if drawn is not None
    }
