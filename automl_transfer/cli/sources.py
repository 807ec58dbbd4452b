"""`automl-transfer sources`: lists sources of pretrained weights, and accepts changed ones."""

from __future__ import annotations

from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.screen import console, print_json


def run(
    as_json: options.Json = False,
    accept: Annotated[
        str | None,
        typer.Option(
            "--accept", metavar="SOURCE", help="Take its weights file as it is now: you changed it."
        ),
    ] = None,
) -> None:
    """List sources: sizes, licences, and whether they are on this machine.

    \b
    $ automl-transfer sources
     source               size     licence     here
     efficientnet-lite0   18.8 MB  Apache-2.0  yes
    """
    from dataclasses import asdict

    from rich.table import Table

    from automl_transfer.models.registry import list_sources

    if accept is not None:
        _accept(accept)
        return
    found = list_sources()
    if as_json:
        print_json([asdict(info) for info in found])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("source", "size", "licence", "here"):
        table.add_column(column, overflow="fold", no_wrap=column == "size")
    for info in found:
        size = f"{info.size_bytes / 1e6:.1f} MB" if info.size_bytes else "-"
        table.add_row(info.name, size, info.licence, "yes" if info.available else "no")
    console().print(table)


def _accept(name: str) -> None:
    from automl_transfer.errors import SourceError
    from automl_transfer.models import known
    from automl_transfer.models.registry import get_source

    path = get_source(name).weights_file()
    if path is None:
        raise SourceError(
            f"--accept must name a source whose weights file lies here and is not known already, got {name!r}"
        )
    typer.echo(f"{name} is {known.accept(path)} from now on")
