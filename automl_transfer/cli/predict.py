"""`automl-transfer predict`: labels images with a model folder."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli.options import DeviceOption


class Form(StrEnum):
    """How predictions are written."""

    CSV = "csv"
    JSONL = "jsonl"


def run(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder: runs/STUDY/model.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Image files or folders.")],
    form: Annotated[Form, typer.Option("--format", help="csv or jsonl.")] = Form.CSV,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to list for each image.")] = 1,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Images a forward pass (default: what suits).")
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Label images. One that cannot be read gets a row with the reason; the others go on.

    \b
    $ automl-transfer predict runs/quick/model three.png
    file,label,probability,error
    three.png,3,0.998417,
    """
    from automl_transfer.errors import DataError
    from automl_transfer.recipes.predict import Predictor
    from automl_transfer.recipes.predictions import write_csv, write_json_lines
    from automl_transfer.training.device import resolve_device

    for image in images:
        if not image.exists():
            raise DataError(f"an image file or folder must exist, got {image}: check the path")
    predictor = Predictor.load(model, resolve_device(device))
    predictions = predictor.predict(images, batch=batch, top=top)
    if form is Form.CSV:
        written = write_csv(predictions, sys.stdout, top)
    else:
        written = write_json_lines(predictions, sys.stdout)
    if written.errors:
        typer.echo(f"{written.errors} of {written.rows} images could not be read (see their rows)", err=True)
        if written.errors == written.rows:
            raise typer.Exit(1)
