"""An evaluation for a terminal: the answer first, then where it is wrong and how far it can be believed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from automl_transfer.reporting.evaluation import ClassScore, Evaluation, UnderAttack
from automl_transfer.reporting.figures.confusion import pairs_of
from automl_transfer.reporting.plain import cell, plain

MOST_CLASSES = 20
MATRIX = 12
"""Classes up to which the confusion matrix is a table."""
MOST_PAIRS = 10
CELL = 5


class EvaluationText:
    """`console.print(EvaluationText(evaluation))`."""

    def __init__(self, found: Evaluation) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._parts(options.max_width)

    def _parts(self, width: int) -> Iterator[RenderableType]:
        found = self.found
        yield Text(headline(found), style="bold")
        if found.attacked is not None:
            yield Text(attacked(found.attacked))
        yield from (Text(note, style="yellow") for note in found.notes)
        yield from (Text(line, style="yellow") for line in left_out(found))
        yield _scores(found)
        yield Text(
            "By class" + (", the least recall first" if len(found.by_class) > MOST_CLASSES else ""), "bold"
        )
        yield _by_class(found)
        if found.wrong:
            yield Text("What it takes for what", style="bold")
            yield _matrix(found) if _fits(found, width) else _pairs(found)
            yield Text("The surest of its mistakes", style="bold")
            yield _worst(found)
        yield Text("What 'predict --threshold' would do", style="bold")
        yield _thresholds(found)
        yield Text(calibration(found))


def headline(found: Evaluation) -> str:
    """Accuracy and its interval, in a sentence."""
    low, high = found.interval
    which = f"{found.split} images" if found.split else "images"
    return (
        f"{plain(found.model, 60)} on {plain(found.dataset, 60)}: accuracy {100 * found.accuracy:.2f}% "
        f"(95%: {100 * low:.1f} to {100 * high:.1f}%); {found.wrong:,} of {found.images:,} {which} wrong."
    )


def attacked(found: UnderAttack) -> str:
    """The accuracy under attack, in a sentence."""
    low, high = found.interval
    return (
        f"Under {found.attack}, which knows the weights: accuracy {100 * found.accuracy:.2f}% (95%: "
        f"{100 * low:.1f} to {100 * high:.1f}%)."
    )


def left_out(found: Evaluation) -> Iterator[str]:
    """Images that were not judged and classes that were not seen, in words."""
    out = found.not_judged
    if out.unreadable:
        shown = "; ".join(f"{plain(key, 60)}: {plain(why, 80)}" for key, why in out.examples[:3])
        yield f"{_images(out.unreadable)} not judged, because unusable: {shown}"
    if out.other_classes:
        number = sum(out.other_classes.values())
        yield (
            f"{_images(number)} not judged, because the model does not know the class: "
            f"{_some([f'{plain(name, 40)} ({n:,})' for name, n in out.other_classes.items()])}"
        )
    if out.not_finite:
        yield f"{_images(out.not_finite)} not judged, because the model's output is not finite."
    if found.missing:
        yield (
            f"{len(found.missing)} of the model's {len(found.classes)} classes have no image here: "
            f"{_some([plain(name, 40) for name in found.missing])}"
        )


def calibration(found: Evaluation) -> str:
    """How far its probabilities can be believed."""
    now = f"expected calibration error {100 * found.expected_calibration_error:.1f}%, NLL {found.nll:.3f}"
    if found.temperature is None:
        return f"Probabilities are the network's own, not calibrated: {now}."
    return (
        f"Probabilities are calibrated (temperature {found.temperature:.3g}): {now}; without it "
        f"{100 * found.uncalibrated_error:.1f}% and {found.uncalibrated_nll:.3f}."
    )


def percent_or_dash(value: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}%"


def least_recall_first(found: Evaluation) -> list[ClassScore]:
    """Classes in the model's order; of many, those that it recognises worst."""
    if len(found.by_class) <= MOST_CLASSES:
        return list(found.by_class)
    return sorted(found.by_class, key=lambda each: (each.recall is None, each.recall or 0.0, -each.images))


def _scores(found: Evaluation) -> Table:
    table = _table("balanced accuracy", "macro F1", "AUROC", "NLL", "calibration error")
    table.add_row(
        f"{100 * found.balanced_accuracy:.2f}%",
        f"{100 * found.macro_f1:.2f}%",
        "-" if found.auroc is None else f"{found.auroc:.4f}",
        f"{found.nll:.3f}",
        f"{100 * found.expected_calibration_error:.1f}%",
    )
    return table


def _by_class(found: Evaluation) -> Table:
    table = _table("class", "images", "recall", "95%", "precision", "F1", "AUROC", words=1)
    shown = least_recall_first(found)
    for each in shown[:MOST_CLASSES]:
        interval = each.recall_interval
        table.add_row(
            cell(each.name),
            f"{each.images:,}",
            percent_or_dash(each.recall),
            "-" if interval is None else f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}%",
            percent_or_dash(each.precision),
            percent_or_dash(each.f1),
            "-" if each.auroc is None else f"{each.auroc:.4f}",
        )
    if len(shown) > MOST_CLASSES:
        table.add_row(Text(f"and {len(shown) - MOST_CLASSES} more (--json has all)", "dim"))
    return table


def _fits(found: Evaluation, width: int) -> bool:
    count = len(found.classes)
    return count <= MATRIX and 16 + count * (CELL + 1) <= width


def _matrix(found: Evaluation) -> Table:
    names = [plain(name, CELL * 3) for name in found.classes]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("truth \\ answer", max_width=16, overflow="fold")
    for name in names:
        table.add_column(Text(name), justify="right", max_width=CELL, overflow="fold")
    counts = {(each.truth, each.answer): each.images for each in found.confusion}
    for truth, name in enumerate(names):
        cells = []
        for answer in range(len(names)):
            number = counts.get((truth, answer), 0)
            style = "" if truth == answer else "bold red"
            cells.append(Text(str(number) if number else "·", style if number else "dim"))
        table.add_row(Text(name), *cells)
    return table


def _pairs(found: Evaluation) -> Table:
    cells = [(each.truth, each.answer, each.images) for each in found.confusion]
    pairs = pairs_of(found.classes, cells)
    table = _table("truth", "taken for", "images", words=2)
    for number, truth, answer in pairs[:MOST_PAIRS]:
        table.add_row(cell(truth), cell(answer, "red"), f"{number:,}")
    if len(pairs) > MOST_PAIRS:
        table.add_row(Text(f"and {len(pairs) - MOST_PAIRS} more pairs", "dim"))
    return table


def _worst(found: Evaluation) -> Table:
    table = _table("image", "truth", "taken for", "with", "truth had", words=3)
    for each in found.worst:
        table.add_row(
            cell(each.file),
            cell(each.truth),
            cell(each.answer, "red"),
            f"{100 * each.probability:.1f}%",
            f"{100 * each.of_truth:.1f}%",
        )
    return table


def _thresholds(found: Evaluation) -> Table:
    foreign = sum(found.not_judged.other_classes.values())
    names = ["threshold", "keep their label", "of these right", "95%"]
    table = _table(*names, *(["of other classes"] if foreign else []))
    for each in found.thresholds:
        interval = each.interval
        table.add_row(
            f"{each.threshold:g}",
            f"{100 * each.coverage:.1f}%",
            percent_or_dash(each.accuracy),
            "-" if interval is None else f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}%",
            *([f"{each.of_other_classes:,} of {foreign:,}"] if foreign else []),
        )
    return table


def _table(*columns: str, words: int = 0) -> Table:
    """Columns of words first, then numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(columns):
        text = place < words
        table.add_column(
            name, justify="left" if text else "right", overflow="fold", no_wrap=not text, ratio=None
        )
    return table


def _images(number: int) -> str:
    return f"{number:,} image is" if number == 1 else f"{number:,} images are"


def _some(names: list[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
