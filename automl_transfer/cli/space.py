"""`automl-transfer space`: prints the dimensions of the strategy space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli.options import JsonOption, console, print_json


def run(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY.toml]", help="Only what this study searches.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    r"""Print every dimension: name, range, default, condition, source.

    \b
    $ automl-transfer space
     name            range         default  active if             from
     transfer_depth  0/8 .. 8/8    8        source is pretrained  Yosinski 2014
    """
    from rich.table import Table

    from automl_transfer.space.dimensions import DIMENSIONS
    from automl_transfer.space.space import Space
    from automl_transfer.space.study_file import read_study

    shown = list(DIMENSIONS.values())
    if study is not None:
        shown = list(Space.from_settings(read_study(study).space).searched)
    if as_json:
        print_json(
            [
                {
                    "name": d.name,
                    "range": d.range_text,
                    "default": d.default,
                    "condition": d.condition,
                    "effect": d.effect,
                    "paper": d.paper,
                }
                for d in shown
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "range", "default", "effect", "active if", "from"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for d in shown:
        table.add_row(d.name, d.range_text, str(d.default), d.effect, d.condition or "always", d.paper)
    console().print(table)
