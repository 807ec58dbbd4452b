"""`automl-transfer predict`: labels images with a model."""

from __future__ import annotations

import codecs
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from automl_transfer.cli import options
from automl_transfer.cli.screen import console, watched
from automl_transfer.printable import for_machines

if TYPE_CHECKING:
    from automl_transfer.recipes.inputs import Named
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
    batch: options.Batch = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Names on stdin end in a null character, not in a new line.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="P",
            min=0.0,
            max=1.0,
            help="Least probability of a label; below it the label is 'none', and 'best' says the class.",
        ),
    ] = None,
    device: options.Device = "cpu",
) -> None:
    """Label images. One that cannot be read gets a row with the reason; the others go on.

    \b
    $ automl-transfer predict runs/quick/model three.png
    file,label,probability,error
    three.png,3,0.998417,
    $ automl-transfer predict runs/quick/model --threshold .9 blurred.png
    file,label,best,probability,error
    blurred.png,none,3,0.512034,
    $ find photos -name '*.jpg' -print0 | automl-transfer predict runs/quick/model -0 - > labels.csv
    """
    from automl_transfer.recipes.inputs import words
    from automl_transfer.recipes.predict import Predictor
    from automl_transfer.recipes.predictions import none_word, write_csv, write_json_lines, write_summary
    from automl_transfer.training.device import resolve_device

    images = [_typed(image) for image in images]
    predictor = Predictor.load(model, resolve_device(device))
    described, left_out = predictor.description, Counter[str]()
    top, none = min(top, len(described.classes)), None
    if threshold is not None:
        none = none_word(described.classes)
        if described.calibration is None:
            typer.echo(
                "this model is not calibrated: its probabilities are the network's own, often too sure "
                "(a model that is shipped now is calibrated)",
                err=True,
            )
        if none != "none" and form is Form.CSV:
            typer.echo(f"a class is named 'none': a label that is not sure reads {none!r}", err=True)
    sources, total = _sources(images, "\0" if null else "\n", left_out)
    rows = for_machines(sys.stdout)
    with _progress(total) as shown:
        predictions = shown(
            predictor.predict_named(sources, batch=batch, top=top, threshold=threshold or 0.0)
        )
        if form is Form.CSV:
            written = write_csv(predictions, rows, top, none)
        else:
            written = write_json_lines(predictions, rows)
            if left_out:
                write_summary(rows, written, left_out)
    if left_out:
        typer.echo(f"left out of the folders, because they are no images: {words(left_out)}", err=True)
    if none is not None:
        typer.echo(
            f"{written.unsure} of {written.rows - written.errors} images are below {threshold:g}", err=True
        )
    if written.errors:
        typer.echo(f"{written.errors} of {written.rows} images could not be read (see their rows)", err=True)
        if written.errors == written.rows:
            raise typer.Exit(1)


def _typed(image: str) -> str:
    """A name on the command line is typed by a person: one that cannot be is said before anything runs."""
    from automl_transfer.errors import DataError
    from automl_transfer.files import kind_at
    from automl_transfer.machine import path_of

    names = (image, str(path_of(image)))
    what = "an image file or folder"
    there = [name for name in names if image == STDIN or kind_at(Path(name), what, DataError) is not None]
    if not there:
        raise DataError(f"an image file or folder must exist, got {image}: check the path")
    return there[0]


def _sources(images: list[str], end: str, left_out: Counter[str]) -> tuple[Iterator[Named], int | None]:
    """What is to be labelled, and how many images that is; None while a list still comes in."""
    from automl_transfer.errors import DataError
    from automl_transfer.recipes.inputs import named_files

    if STDIN not in images:
        found = list(named_files(images[0] if len(images) == 1 else images, left_out))
        return iter(found), len(found)
    listed = _listed(sys.stdin.buffer, os.fsencode(end))
    first = next(listed, None)
    if first is None and len(images) == 1:
        raise DataError("standard input must list at least one image, got nothing: one name a line")
    from_stdin = itertools.chain([] if first is None else [first], listed)
    names = itertools.chain.from_iterable(from_stdin if i == STDIN else [i] for i in images)
    return named_files(names, left_out), None


def _listed(stream: BinaryIO, end: bytes) -> Iterator[str]:
    """The names in a stream, as they come; lines as editors of any system write them."""
    for number, name in enumerate(_ended(stream, end)):
        if end == b"\n":
            name = (name if number else name.removeprefix(codecs.BOM_UTF8)).removesuffix(b"\r")
        if name.strip():
            yield os.fsdecode(name)


def _ended(stream: BinaryIO, end: bytes) -> Iterator[bytes]:
    rest = b""
    while part := stream.readline() if end == b"\n" else stream.read1(65536):  # type: ignore[attr-defined]
        *whole, rest = (rest + part).split(end)
        yield from whole
    yield rest


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[Iterable[Prediction]], Iterator[Prediction]]]:
    """A bar on stderr, where the rows go elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    hidden = not watched(screen) or sys.stdout.isatty()
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
