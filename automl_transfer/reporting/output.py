"""A report for a terminal, for machines, and as a page: of one study, or of several."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from automl_transfer.printable import spreadsheet
from automl_transfer.reporting.comparison import compare, headline, never_ruled_out
from automl_transfer.reporting.failures import failed_trials
from automl_transfer.reporting.study_report import StudyReport
from automl_transfer.reporting.table import Report

COLUMNS = (
    "study", "task", "rank", "set", "root_trial", "description",
    "confirmed_score", "confirmed_accuracy", "confirmed_low", "confirmed_high", "confirmed_runs",
    "confirmed_images", "behind_best", "validation_score", "validation_accuracy", "validation_low",
    "validation_high", "validation_nll", "validation_images", "epochs", "train_seconds",
    "predict_ms_per_image", "parameters", "robust_accuracy", "strategy",
)  # fmt: skip


def show(console: Console, reports: Sequence[StudyReport], limit: int | None) -> None:
    """Print every study, and how they compare."""
    for report in reports:
        console.print(Report(report, limit, stories_of(report)))
    show_comparison(console, reports)


def show_comparison(console: Console, reports: Sequence[StudyReport]) -> None:
    """Print how several studies compare; nothing for one."""
    if len(reports) > 1:
        found = compare(reports)
        console.print(Text(headline(found, len(reports)), style="bold"))
        for each in found.ranked:
            bounds = f" (95%: {each.interval[0]:.1f} to {each.interval[1]:.1f})" if each.interval else ""
            console.print(Text(f"  {each.family}: average rank {each.mean:.2f}{bounds}, {each.wins} wins"))
        console.print(Text(" ".join(filter(None, (never_ruled_out(found), found.claim)))))


def stories_of(report: StudyReport) -> list[tuple[str, str]]:
    """What each figure of the page shows, in words."""
    from automl_transfer.reporting.figures.registry import FIGURES

    told = ((spec.title, spec.describe(report)) for spec in FIGURES.values())
    return [(title, text) for title, text in told if text]


def as_json(reports: Sequence[StudyReport]) -> str:
    """One study: its ranking, as `ranking.json` has it. Several: each with its own."""
    if len(reports) == 1:
        return reports[0].ranking.to_json()
    studies = [_facts(report) for report in reports]
    document = {"schema": "automl-transfer/comparison/1", "studies": studies}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _facts(report: StudyReport) -> dict[str, Any]:
    return {
        "ranking": json.loads(report.ranking.to_json()),
        "trials": {state.value: number for state, number in report.summary.counts.items()},
        "failures": [
            {"trial": each.number, "class": each.kind, "reason": each.reason}
            for each in failed_trials(report)
        ],
        "unreadable": [row.model_dump(mode="json") for row in report.summary.unreadable],
    }


def as_csv(reports: Sequence[StudyReport]) -> str:
    """The rankings as CSV (RFC 4180), one line a strategy; the strategy itself as JSON in the last column."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for report in reports:
        for row in report.ranking.rows:
            again, first = row.confirmation, row.validation
            writer.writerow(
                {
                    "study": spreadsheet(report.study),
                    "task": spreadsheet(report.ranking.task.name),
                    "rank": row.rank,
                    "set": row.set,
                    "root_trial": row.root_trial,
                    "description": spreadsheet(row.description),
                    "confirmed_score": again and again.score,
                    "confirmed_accuracy": again and again.accuracy,
                    "confirmed_low": again and again.interval[0],
                    "confirmed_high": again and again.interval[1],
                    "confirmed_runs": again and again.runs,
                    "confirmed_images": again and again.images,
                    "behind_best": again and again.behind,
                    "validation_score": first.score,
                    "validation_accuracy": first.accuracy,
                    "validation_low": first.interval[0],
                    "validation_high": first.interval[1],
                    "validation_nll": first.nll,
                    "validation_images": first.n,
                    "epochs": row.epochs,
                    "train_seconds": row.train_seconds,
                    "predict_ms_per_image": row.predict_ms_per_image,
                    "parameters": row.parameters,
                    "robust_accuracy": row.robust_accuracy,
                    "strategy": row.strategy.model_dump_json(),
                }
            )
    return stream.getvalue()


def as_page(reports: Sequence[StudyReport]) -> str:
    """The page of one study, or the page that compares several."""
    if len(reports) == 1:
        from automl_transfer.reporting.html.study_page import study_page

        return study_page(reports[0])
    from automl_transfer.reporting.html.compare_page import compare_page

    return compare_page(reports)
