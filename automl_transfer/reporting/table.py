"""The ranked table for a terminal, wide or narrow, and the sentences around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from automl_transfer.reporting.plain import cell, count, plain, seconds
from automl_transfer.reporting.ranking import RankedStrategy, Ranking
from automl_transfer.reporting.story import caveats, headline
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.reporting.summary import StudySummary, left_out

WIDE = 110
"""Columns from which every number has a column of its own."""


class Report:
    """A study in text: `console.print(Report(study_report))`.

    Args:
        report: What is known about the study.
        limit: Rows to show; None shows all.
        stories: (title, sentences) to tell after the table: what the figures of the page show.
    """

    def __init__(
        self, report: StudyReport, limit: int | None = 10, stories: Sequence[tuple[str, str]] = ()
    ) -> None:
        self.report = report
        self.limit = limit
        self.stories = stories

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._parts(options.max_width)

    def _parts(self, width: int) -> Iterator[RenderableType]:
        ranking, summary = self.report.ranking, self.report.summary
        yield Text(headline(self.report), style="bold")
        yield Text(fates(summary))
        if ranking.rows:
            yield ranking_table(ranking, width, self.limit)
            hidden = 0 if self.limit is None else max(0, len(ranking.rows) - self.limit)
            if hidden:
                yield Text(f"{hidden} more rows in ranking.json.", style="dim")
            yield from (Text(note, style="dim") for note in caveats(self.report))
        for title, text in self.stories:
            yield Text.assemble((f"{title}: ", "bold"), plain(text, 1000))
        yield from (Text(line) for line in _failures(summary))


def ranking_table(ranking: Ranking, width: int, limit: int | None = 10) -> Table:
    """The rows as a rich table that fits `width` columns."""
    named = ranking.task.metric.replace("_", " ")
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), width=min(width, 160), show_lines=False
    )
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("set", no_wrap=True)
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("strategy", ratio=1, overflow="fold")
    wide = width >= WIDE
    confirmed = any(row.confirmation for row in ranking.rows)
    attacked = any(row.robust_accuracy is not None for row in ranking.rows)
    if wide:
        if confirmed:
            table.add_column("confirmed", justify="right")
            table.add_column("validation", justify="right")
        else:
            table.add_column(named, justify="right")
        table.add_column("accuracy 95%", justify="right", no_wrap=True)
        if attacked:
            table.add_column("attacked", justify="right", no_wrap=True)
        for name in ("NLL", "epochs", "training", "predicts", "weights"):
            table.add_column(name, justify="right", no_wrap=True)
    else:
        table.add_column(f"{named},\naccuracy 95%", justify="right", max_width=17)
        table.add_column("cost", justify="right", no_wrap=True)
    for row in ranking.rows[:limit]:
        cells = _wide_cells(row, confirmed, attacked) if wide else _narrow_cells(row)
        best = "bold" if row.rank == 1 else ""
        table.add_row(
            str(row.rank),
            row.set or "",
            str(row.root_trial),
            cell(row.description, best),
            *cells,
            end_section=not wide,
        )
    return table


def _wide_cells(row: RankedStrategy, confirmed: bool, attacked: bool) -> list[str]:
    again = [f"{100 * row.confirmation.score:.2f}%" if row.confirmation else "-"] if confirmed else []
    return [
        *again,
        f"{100 * row.validation.score:.2f}%",
        _interval(row),
        *([_attacked(row)] if attacked else []),
        f"{row.validation.nll:.3f}",
        str(row.epochs),
        *_costs(row),
    ]


def _narrow_cells(row: RankedStrategy) -> list[str]:
    training, predicts, weights = _costs(row)
    score = row.validation.score if row.confirmation is None else row.confirmation.score
    again = "" if row.confirmation is None else "\nconfirmed"
    attacked = "" if row.robust_accuracy is None else f"\n{_attacked(row)} attacked"
    return [
        f"{100 * score:.2f}%\n{_interval(row)}{again}{attacked}",
        "\n".join(part for part in (training, predicts, weights) if part != "-") or "-",
    ]


def _costs(row: RankedStrategy) -> tuple[str, str, str]:
    return (
        seconds(row.train_seconds),
        "-" if row.predict_ms_per_image is None else f"{row.predict_ms_per_image:.2g} ms",
        "-" if row.parameters is None else count(row.parameters),
    )


def _attacked(row: RankedStrategy) -> str:
    return "-" if row.robust_accuracy is None else f"{100 * row.robust_accuracy:.2f}%"


def _interval(row: RankedStrategy) -> str:
    low, high = (row.confirmation or row.validation).interval
    return f"{100 * low:.1f}-{100 * high:.1f}%"


def fates(summary: StudySummary) -> str:
    """How many trials there are, and what became of them, in words."""
    told = summary.fates()
    return f"{summary.trials} trials: {told}." if told else "0 trials."


def _failures(summary: StudySummary) -> Iterator[str]:
    for failure in summary.failures:
        numbers = ", ".join(map(str, failure.trials[:12])) + (", ..." if len(failure.trials) > 12 else "")
        carried = f" ({len(failure.continued)} carried on by a later attempt)" if failure.continued else ""
        noun = "trial" if len(failure.trials) == 1 else "trials"
        yield f"Failed: {noun} {numbers}{carried}: {plain(failure.reason)}"
    if summary.restarted:
        numbers = ", ".join(map(str, summary.restarted[:12]))
        yield f"Started over, because their checkpoint was gone: {numbers}"
    if summary.unranked:
        numbers = ", ".join(map(str, summary.unranked[:12]))
        yield f"Not ranked, because no strategy or no curve is recorded: {numbers}"
    yield from left_out(summary.unreadable)
