"""`automl-transfer space`: prints the dimensions of the strategy space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.screen import console, print_json


def run(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY.toml]", help="Only what this study searches.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="NAME", help="Say what this source cannot take, and why."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Print every dimension: name, range, default, condition, source.

    \b
    $ automl-transfer space
     name            range       default  what, when, and from where
     transfer_depth  0/8 .. 8/8  8        groups whose weights are copied; active if source is ...
    """
    from rich.table import Table
    from rich.text import Text

    from automl_transfer.domain.dimensions import ALL_TRAITS
    from automl_transfer.domain.strategy import DIMENSIONS
    from automl_transfer.space.space import Space
    from automl_transfer.space.study_file import read_study

    shown = list(DIMENSIONS.values())
    if study is not None:
        shown = list(Space.from_settings(read_study(study).space).searched)
    traits = ALL_TRAITS
    if source is not None:
        from automl_transfer.models.registry import source_traits

        traits = source_traits(source)
    excluded = {d.name: d.excluded_by(traits) for d in shown}
    if as_json:
        print_json(
            [
                {
                    "name": d.name,
                    "range": d.range_text,
                    "default": d.default,
                    "condition": d.condition,
                    "effect": d.effect,
                    "needs": d.needs_text,
                    "paper": d.paper,
                    **({} if source is None else {"excluded": list(excluded[d.name])}),
                }
                for d in shown
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "range", "default", "what, when, and from where"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for d in shown:
        when = f"; active if {d.condition}" if d.condition else ""
        needs = f"; {d.needs_text}" if d.needs_text else ""
        text = Text(f"{d.effect}{when}{needs} [{d.paper}]")
        for why in excluded[d.name]:
            text.append(f"\nnot with {source}: {why}", style="yellow")
        table.add_row(d.name, d.range_text, str(d.default), text)
    console().print(table)
