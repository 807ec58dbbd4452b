"""The page of one study: the answer first, then why to believe it, what mattered, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from automl_transfer import __version__
from automl_transfer.reporting.failures import failed_trials, oddities
from automl_transfer.reporting.html.document import ShownFigure, figures_of, page, words_of
from automl_transfer.reporting.plain import count, plain, seconds
from automl_transfer.reporting.story import caveats, headline, spent, times
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.reporting.table import fates

TOP = 5
MOST_ROWS = 200
MOST_FAILURES = 200


@dataclass(frozen=True)
class Section:
    """A part of the page; it is left out where it has neither figures nor content of its own."""

    anchor: str
    title: str
    short: str
    lead: str
    figures: tuple[str, ...] = ()
    paired: bool = False


SECTIONS = (
    Section(
        "ranking",
        "Ranking",
        "Ranking",
        "Strategies, not trials: what was tried twice counts once, and what was stopped early is not ranked.",
    ),
    Section(
        "confidence",
        "How sure is that?",
        "Confidence",
        "The best of many noisy scores is too good to be true. So the best strategies were trained again, "
        "with fresh seeds, on fresh splits.",
    ),
    Section(
        "families",
        "What mattered",
        "What mattered",
        "Which choices made the difference. The search does not draw at random, so these are associations: "
        "good for forming a guess, not for proving it.",
        paired=True,
    ),
    Section(
        "cost",
        "Money and time",
        "Cost",
        "What accuracy costs, where the compute went, and whether stopping early was right.",
        paired=True,
    ),
    Section(
        "errors",
        "What the winner gets wrong",
        "Errors",
        "",
        paired=True,
    ),
    Section(
        "data",
        "What became of the files",
        "Data",
        "Every file of the dataset is an image that is used, or is counted here.",
    ),
    Section(
        "failures",
        "Failures",
        "Failures",
        "Every trial that failed or was interrupted, and why. Trials that were pruned are not failures.",
    ),
)


def study_page(report: StudyReport) -> str:
    """The whole page as text."""
    figures = figures_of(report)
    failures = failed_trials(report)
    sections = list(_sections(report, figures, bool(failures)))
    return page(
        "study.html.j2",
        {name: shown.value for name, shown in figures.items()},
        words_of(report, figures),
        title=plain(f"{report.study}: report", 120),
        name=plain(report.study, 80),
        eyebrow=_eyebrow(report),
        contents=[(section.anchor, section.short) for section in sections],
        answer=_answer(report),
        caveats=list(caveats(report)),
        facts=list(_facts(report)),
        top=report.ranking.rows[:TOP],
        metric_title=_metric_title(report),
        table_note=_table_note(report),
        metric_name=report.metric_name,
        rows=report.ranking.rows[:MOST_ROWS],
        attacked=any(row.robust_accuracy is not None for row in report.ranking.rows),
        total_rows=len(report.ranking.rows),
        in_set=sum(row.set is not None for row in report.ranking.rows),
        sections=sections,
        figures=figures,
        failures=failures[:MOST_FAILURES],
        more_failures=max(0, len(failures) - MOST_FAILURES),
        oddities=list(oddities(report)),
        account=report.task.account if report.task is not None else None,
        winner=report.winner,
        version=__version__,
    )


def _sections(report: StudyReport, drawn: dict[str, ShownFigure], failed: bool) -> Iterator[Section]:
    for section in SECTIONS:
        figures = tuple(name for name, figure in drawn.items() if figure.section == section.anchor)
        lead = section.lead
        if section.anchor == "ranking" and not report.ranking.rows:
            continue
        if section.anchor == "errors":
            if report.winner is None:
                continue
            lead = _errors_lead(report)
        elif section.anchor == "data":
            if not (report.task and report.task.account and report.task.account.lines()):
                continue
        elif section.anchor not in ("ranking", "failures") and not figures:
            continue
        if section.anchor == "failures" and not report.records:
            continue
        yield replace(section, lead=lead, figures=figures, paired=section.paired and len(figures) > 1)


def _errors_lead(report: StudyReport) -> str:
    winner = report.winner
    assert winner is not None
    wrong = "none" if not winner.wrong else f"{winner.wrong}"
    if winner.split == "test":
        return (
            f"The shipped model on {winner.images} test images, in their single evaluation: {winner.who} was "
            f"refitted on training + validation: {wrong} of them wrong."
        )
    return (
        f"{winner.who.capitalize()}, trained on training images alone, on {winner.images} validation images, "
        "which the search has seen (test images are not shown: nobody shall tune on them): "
        f"{wrong} of them wrong."
    )


def _answer(report: StudyReport) -> dict[str, str]:
    """The headline in parts: what stands out on the page differs from what is said."""
    best = report.ranking.best
    if best is None or report.task is None:
        return {"lead": headline(report), "score": "", "strategy": ""}
    confirmed = best.confirmation
    score = best.validation.score if confirmed is None else confirmed.score
    kind = "validation" if confirmed is None else "confirmed"
    return {
        "lead": f"Best for {plain(report.task.name, 60)}:",
        "score": f"{100 * score:.2f}% {kind} {report.metric_name}",
        "strategy": plain(best.description),
    }


def _eyebrow(report: StudyReport) -> str:
    parts = [f"Study {plain(report.study, 60)}"]
    if report.task is not None:
        sizes = report.task.splits
        parts.append(
            f"{len(report.task.classes)} classes, {sizes.train:,} / {sizes.validation:,} / {sizes.test:,} "
            f"images to train, validate and test, {report.task.resolution} pixels"
        )
    parts.append(fates(report.summary).rstrip("."))
    return " · ".join(parts)


def _facts(report: StudyReport) -> Iterator[tuple[str, str, str]]:
    best = report.ranking.best
    if best is None:
        return
    if best.confirmation is not None:
        low, high = best.confirmation.interval
        yield (
            "Confirmed accuracy",
            f"{100 * best.confirmation.accuracy:.2f}%",
            f"95%: {100 * low:.1f} to {100 * high:.1f}%, {best.confirmation.runs} trainings",
        )
    else:
        low, high = best.validation.interval
        yield (
            "Validation accuracy",
            f"{100 * best.validation.accuracy:.2f}%",
            f"95%: {100 * low:.1f} to {100 * high:.1f}%, not confirmed",
        )
    winner = report.winner
    if winner is not None and winner.test_accuracy is not None and winner.test_interval is not None:
        low, high = winner.test_interval
        yield (
            "Test accuracy",
            f"{100 * winner.test_accuracy:.2f}%",
            f"95%: {100 * low:.1f} to {100 * high:.1f}%, {winner.test_images} images, "
            f"{times(len(report.ranking.test_looks))}"
            + (f", {winner.shipped_as}" if winner.shipped_as else ""),
        )
    yield (
        "Strategies tried",
        str(len({r.root for r in report.records})),
        f"in {spent(report)}" if spent(report) else "",
    )
    yield (
        "Trains in",
        seconds(best.train_seconds),
        f"{best.epochs} epochs" if best.epochs else "solved, no epochs",
    )
    if best.predict_ms_per_image:
        rate = 1000.0 / best.predict_ms_per_image
        yield "Predicts in", f"{best.predict_ms_per_image:.2g} ms", f"an image; {rate:,.0f} images a second"
    if best.parameters:
        yield "Size", f"{count(best.parameters)}", f"weights, {4 * best.parameters / 1e6:.2g} MB"


def _metric_title(report: StudyReport) -> str:
    return report.metric_name.capitalize()


def _table_note(report: StudyReport) -> str:
    if all(row.confirmation is None for row in report.ranking.rows):
        return "Validation scores with 95% intervals. Cost: training, prediction of one image, weights."
    return (
        "Confirmed ones: mean over fresh trainings; the others: validation. 95% intervals. "
        "Cost: training, prediction of one image, weights."
    )
