"""The ranked table for a terminal, wide or narrow, and the sentences around it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from automl_transfer.domain.records import TrialState
from automl_transfer.reporting.plain import cell, count, plain, seconds
from automl_transfer.reporting.ranking import Ranking, Row
from automl_transfer.reporting.summary import StudySummary

WIDE = 110
"""Columns from which every number has a column of its own."""

FATES: dict[TrialState, str] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class Report:
    """A study in text: `console.print(Report(ranking, summary))`.

    Args:
        ranking: The strategies in order.
        summary: Fates of the trials.
        limit: Rows to show; None shows all.
    """

    def __init__(self, ranking: Ranking, summary: StudySummary, limit: int | None = 10) -> None:
        self.ranking = ranking
        self.summary = summary
        self.limit = limit

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._parts(options.max_width)

    def _parts(self, width: int) -> Iterator[RenderableType]:
        yield Text(_headline(self.ranking, self.summary), style="bold")
        yield Text(_fates(self.summary))
        if self.ranking.rows:
            yield ranking_table(self.ranking, width, self.limit)
            yield from (Text(note, style="dim") for note in _notes(self.ranking, self.limit))
        yield from (Text(line) for line in _failures(self.summary))


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
    if wide:
        table.add_column(named, justify="right")
        table.add_column("accuracy 95%", justify="right", no_wrap=True)
        for name in ("NLL", "epochs", "training", "predicts", "weights"):
            table.add_column(name, justify="right", no_wrap=True)
    else:
        table.add_column(f"{named},\naccuracy 95%", justify="right", max_width=17)
        table.add_column("cost", justify="right", no_wrap=True)
    for row in ranking.rows[:limit]:
        cells = _wide_cells(row) if wide else _narrow_cells(row)
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


def _wide_cells(row: Row) -> list[str]:
    return [
        f"{100 * row.validation.score:.2f}%",
        _interval(row),
        f"{row.validation.nll:.3f}",
        str(row.epochs),
        *_costs(row),
    ]


def _narrow_cells(row: Row) -> list[str]:
    training, predicts, weights = _costs(row)
    return [
        f"{100 * row.validation.score:.2f}%\n{_interval(row)}",
        "\n".join(part for part in (training, predicts, weights) if part != "-") or "-",
    ]


def _costs(row: Row) -> tuple[str, str, str]:
    return (
        seconds(row.train_seconds),
        "-" if row.predict_ms_per_image is None else f"{row.predict_ms_per_image:.2g} ms",
        "-" if row.parameters is None else count(row.parameters),
    )


def _interval(row: Row) -> str:
    low, high = row.validation.interval
    return f"{100 * low:.1f}-{100 * high:.1f}%"


def _headline(ranking: Ranking, summary: StudySummary) -> str:
    study, task = plain(ranking.study, 60), plain(ranking.task.name, 60)
    best = ranking.best
    metric = ranking.task.metric.replace("_", " ")
    if best is None:
        if not summary.trials:
            return f"Study {study} on {task} has no trials yet: run `search` with its study file."
        going = summary.counts.get(TrialState.RUNNING, 0) + summary.counts.get(TrialState.WAITING, 0)
        then = "wait for the running ones" if going else "run `search` again to add trials"
        return f"Study {study} on {task}: no trial to rank yet, for none is complete; {then}."
    return (
        f"Study {study} on {task}: best is trial {best.root_trial}, "
        f"validation {metric} {100 * best.validation.score:.2f}% of {best.validation.n} images."
    )


def _fates(summary: StudySummary) -> str:
    parts = [f"{summary.counts[state]} {name}" for state, name in FATES.items() if state in summary.counts]
    return f"{summary.trials} trials: {', '.join(parts)}." if parts else "0 trials."


def _notes(ranking: Ranking, limit: int | None) -> Iterator[str]:
    hidden = 0 if limit is None else max(0, len(ranking.rows) - limit)
    if hidden:
        yield f"{hidden} more rows in ranking.json."
    together = sum(row.set is not None for row in ranking.rows)
    if together > 1:
        yield (
            f"Set a: {together} strategies that these {ranking.rows[0].validation.n} validation images "
            "cannot tell apart from the best (5% error over all comparisons)."
        )
    yield "The best was picked by this score, so on new images expect less: the test split says how much."


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
