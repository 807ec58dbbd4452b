"""What `explore` prints of a task beside sources and earlier tasks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from automl_transfer.cli.options import open_store
from automl_transfer.machine import DEFAULT_DATABASE

if TYPE_CHECKING:
    from rich.console import Console

    from automl_transfer.api.comparing import Comparison
    from automl_transfer.api.profiling import SourceProfile
    from automl_transfer.domain.evidence import ProfileRecord
    from automl_transfer.store.store import Store


def store_to_read(storage: str | None, storage_file: Path | None) -> AbstractContextManager[Store | None]:
    """The store that the options name. Without them, the usual one; None where that cannot be read.

    Raises:
        UserError: The store that is named cannot be read.
    """
    if storage is not None or storage_file is not None:
        return open_store(storage, storage_file, create=False, read_only=True)
    from automl_transfer.errors import UserError
    from automl_transfer.store.url import resolve_storage

    try:
        url = resolve_storage(None, None, DEFAULT_DATABASE)
        if url.is_missing:
            return nullcontext()
        return open_store(None, None, create=False, read_only=True)
    except UserError as error:
        typer.echo(f"earlier tasks are left out: {error}", err=True)
        return nullcontext()


def print_scores(screen: Console, record: ProfileRecord) -> None:
    """A row a cut, a column a score; the best of a column is marked."""
    from rich.table import Table

    from automl_transfer.reporting.plain import plain

    cuts = [cut for cut in record.cuts if cut.scores]
    names = list(dict.fromkeys(name for cut in cuts for name in cut.scores))
    if names:
        best = {name: max(cut.scores[name] for cut in cuts if name in cut.scores) for name in names}
        table = Table(box=None, pad_edge=False)
        screen.print("its scores on outputs pooled 1x1 (*: the best of a column)", markup=False)
        table.add_column("after group", justify="right")
        for name in names:
            table.add_column(plain(name, 30), justify="right")
        for cut in sorted(cuts, key=lambda each: each.cut):
            table.add_row(
                str(cut.cut),
                *(
                    f"{cut.scores[name]:.3f}{'*' if cut.scores[name] == best[name] else ' '}"
                    if name in cut.scores
                    else ""
                    for name in names
                ),
            )
        screen.print(table)
    for name, reason in record.unscored.items():
        screen.print(f"{plain(name, 30)} says nothing somewhere: {plain(reason)}", markup=False)
    if record.frechet is not None:
        screen.print(
            f"distance from the images it was trained on, by its batch norms: {record.frechet:.2f} (0: none)",
            markup=False,
        )


def print_comparison(screen: Console, found: Comparison, *, profiled: bool, stored: bool) -> None:
    """What scores suggest, what such scores were worth so far, and the nearest tasks seen."""
    from rich.text import Text

    from automl_transfer.reporting.plain import plain

    if found.suggestion:
        screen.print(Text(f"\nthe scores suggest: {found.suggestion}"), soft_wrap=True)
    if profiled and stored:
        screen.print(Text(_worth(found)), soft_wrap=True)
    for place, (apart, seen) in enumerate(found.nearest):
        if place == 0:
            screen.print("nearest tasks in this store:")
        won = "no strategy is complete"
        if seen.winner is not None and seen.winner.strategy is not None and seen.score is not None:
            won = f"{100 * seen.score:.1f} {seen.metric} by {plain(seen.winner.strategy.describe(), 400)}"
        same = " (the same data)" if seen.signature.task == found.signature.task else ""
        screen.print(
            Text(f"  {apart:.2f} {plain(seen.name, 60)}{same}: {seen.signature.images:,} images, "
                 f"{seen.signature.classes:,} classes; {won}"),
            soft_wrap=True,
        )  # fmt: skip


def _worth(found: Comparison) -> str:
    if not found.predicted:
        return (
            "how well scores predict is not known here: no task of this store has two sources that were "
            "scored and tried"
        )
    tasks = max(len(each.taus) for each in found.predicted)
    listed = ", ".join(f"{each.score} {each.mean:+.2f}" for each in found.predicted)
    return (
        f"how well such scores ordered the sources of {tasks} task{'s' * (tasks > 1)} of this store "
        "(weighted Kendall tau with the best that each source reached; 1: the same order, 0: none): "
        f'{listed}. "larger first" does not look at the task'
    )


def draw_page(profiles: Sequence[SourceProfile], path: Path) -> None:
    """One self-contained page with the profile's figure, and the scores', in a folder that may be new.

    Raises:
        OutputError: It cannot be written.
    """
    import html

    from automl_transfer.recipes.output import make_folder, write_text
    from automl_transfer.reporting.figures.profile import FIGURE, draw_profiles
    from automl_transfer.reporting.figures.scores import READS, TITLE, draw_scores
    from automl_transfer.reporting.suggested import suggestion

    records = [profile.record for profile in profiles]
    curves = draw_profiles(records)
    curves.update_layout(height=400 + 10 * len(curves.data))  # the legend has two lines a row
    parts = [(FIGURE.title, FIGURE.reads.partition(" Diamonds")[0], curves)]
    if (scored := draw_scores(records)) is not None:
        parts.append((TITLE, f"{READS} The scores suggest: {suggestion(records)}.", scored))
    body = [
        f"<h2>{html.escape(title)}</h2><p>{html.escape(reads)}</p>"
        + figure.to_html(include_plotlyjs=place == 0, full_html=False, config={"displayModeBar": False})
        for place, (title, reads, figure) in enumerate(parts)
    ]
    make_folder(path.parent)
    write_text(path, _PAGE.format(body="\n".join(body)))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sources compared with a dataset</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em }}
p {{ color: #5b6470 }}</style></head>
<body>
{body}
</body></html>
"""
