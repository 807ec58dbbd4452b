"""`automl-transfer predict`: labels images with a model."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from automl_transfer.cli.options import DeviceOption, console

if TYPE_CHECKING:
    from automl_transfer.recipes.predictions import Prediction

STDIN = "-"


class Form(StrEnum):
    """How predictions are written."""

    CSV = "csv"
    JSONL = "jsonl"


def run(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model folder, or what 'package' wrote as safetensors.")
    ],
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES...", help="Image files or folders; - reads their names from stdin."),
    ],
    form: Annotated[Form, typer.Option("--format", help="csv or jsonl.")] = Form.CSV,
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to list for each image.")] = 1,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Images a forward pass (default: what suits).")
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Names on stdin end in a null character, not in a new line.")
    ] = False,
    device: DeviceOption = "cpu",
) -> None:
    """Label images. One that cannot be read gets a row with the reason; the others go on.

    \b
    $ automl-transfer predict runs/quick/model three.png
    file,label,probability,error
    three.png,3,0.998417,
    $ find photos -name '*.jpg' -print0 | automl-transfer predict runs/quick/model -0 - > labels.csv
    """
    from automl_transfer.errors import DataError
    from automl_transfer.recipes.predict import Predictor
    from automl_transfer.recipes.predictions import write_csv, write_json_lines
    from automl_transfer.training.device import resolve_device

    for image in images:
        if image != STDIN and not Path(image).exists():
            raise DataError(f"an image file or folder must exist, got {image}: check the path")
    predictor = Predictor.load(model, resolve_device(device))
    names, total = _names(images, "\0" if null else "\n")
    with _progress(total) as shown:
        predictions = shown(predictor.predict(names, batch=batch, top=top))
        if form is Form.CSV:
            written = write_csv(predictions, sys.stdout, top)
        else:
            written = write_json_lines(predictions, sys.stdout)
    if written.errors:
        typer.echo(f"{written.errors} of {written.rows} images could not be read (see their rows)", err=True)
        if written.errors == written.rows:
            raise typer.Exit(1)


def _names(images: list[str], end: str) -> tuple[Iterable[str | Path], int | None]:
    """What is to be labelled, and how many images that is; None while a list still comes in."""
    from automl_transfer.data.walk import find_images
    from automl_transfer.errors import DataError

    if STDIN not in images:
        found: list[str | Path] = []
        for image in images:
            inside = find_images(Path(image)) if Path(image).is_dir() else []
            if len(images) == 1 and Path(image).is_dir() and not inside:
                raise DataError(
                    f"a folder must hold images, got {image} with none: name another folder or files"
                )
            found += inside or [image]  # an empty folder among several gets a row that says so
        return found, len(found)
    listed = _listed(sys.stdin.buffer, os.fsencode(end))
    first = next(listed, None)
    if first is None and len(images) == 1:
        raise DataError("standard input must list at least one image, got nothing: one name a line")
    from_stdin = itertools.chain([] if first is None else [first], listed)
    return itertools.chain.from_iterable(from_stdin if i == STDIN else [i] for i in images), None


def _listed(stream: BinaryIO, end: bytes) -> Iterator[str]:
    """The names in a stream, as they come."""
    rest = b""
    while part := stream.readline() if end == b"\n" else stream.read1(65536):  # type: ignore[attr-defined]
        *whole, rest = (rest + part).split(end)
        yield from (os.fsdecode(name.removesuffix(b"\r")) for name in whole if name.strip())
    if rest.strip():
        yield os.fsdecode(rest)


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[Iterable[Prediction]], Iterator[Prediction]]]:
    """A bar on stderr, where the rows go elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    hidden = not screen.is_terminal or sys.stdout.isatty()
    columns = (TextColumn("labelling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Rows go to stdout as they are, not by way of the console.
    with Progress(
        *columns, console=screen, transient=True, disable=hidden, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        task = progress.add_task("labelling", total=total)

        def shown(predictions: Iterable[Prediction]) -> Iterator[Prediction]:
            for done, prediction in enumerate(predictions, start=1):
                yield prediction
                if done % 32 == 0:
                    progress.update(task, completed=done)

        yield shown
