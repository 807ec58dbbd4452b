"""`automl-transfer evaluate`: how good a model is on labelled images."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import columns_of
from automl_transfer.cli.screen import console, print_data

STDOUT = "-"
EPS = "8/255"


class Part(StrEnum):
    """Splits."""

    TEST = "test"
    VALIDATION = "validation"
    TRAIN = "train"


class AttackKind(StrEnum):
    """Attacks."""

    FGSM = "fgsm"
    PGD = "pgd"


def run(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model folder, or the run folder that holds it.")
    ],
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="Registered name, folder, .npz or table, with labels.")
    ],
    split: Annotated[
        Part | None, typer.Option("--split", help="Only these images (default: all of the dataset).")
    ] = None,
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON; - prints it.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page: figures and worst images.")
    ] = None,
    attack: Annotated[
        AttackKind | None, typer.Option("--attack", help="Judge them once more, changed against the model.")
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option("--eps", help="How far a pixel may move: a fraction of its range.", show_default=EPS),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Of pgd.", show_default="10")] = None,
    batch: options.Batch = None,
    images: options.Images = None,
    columns: options.Columns = None,
    classes_from: options.ClassesFrom = None,
    split_from: options.SplitFrom = None,
    group_from: options.GroupFrom = None,
    exclude: options.Exclude = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "cpu",
) -> None:
    """Judge a model on labelled images: scores, classes, calibration, thresholds, worst images.

    Classes are matched by name; images that cannot be judged are counted.

    \b
    $ automl-transfer evaluate runs/quick digits --split test
    quick on digits: accuracy 99.44% (95%: 98.0 to 99.9%); 2 of 359 test images wrong.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from automl_transfer.api.evaluating import evaluate
    from automl_transfer.domain.attack import Attack, share
    from automl_transfer.errors import ConfigurationError
    from automl_transfer.recipes.output import check_files, write_text
    from automl_transfer.reporting.evaluation_text import EvaluationText

    alone = {"--eps": eps, "--steps": steps} if attack is None else {}
    for name, value in alone.items():
        if value is not None:
            raise ConfigurationError(
                f"--eps and --steps are of --attack, got {name} {value} without it: add --attack pgd"
            )
    against = None if attack is None else Attack.of(attack.value, share(EPS if eps is None else eps), steps)
    check_files(html, None if as_json in (None, STDOUT) else Path(str(as_json)))
    screen = console(stderr=True)
    parts = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        found = evaluate(
            model,
            dataset,
            split=None if split is None else split.value,
            device=device,
            batch=batch,
            data_root=data_root,
            cache_root=cache,
            progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
            attack=against,
            images=images,
            columns=columns_of(columns),
            classes_from=classes_from,
            split_from=split_from,
            group_from=group_from,
            exclude=exclude,
        )
    if as_json == STDOUT:
        print_data(found.to_json())
    else:
        console().print(EvaluationText(found))
    if as_json not in (None, STDOUT):
        write_text(Path(str(as_json)), found.to_json())
        typer.echo(f"wrote {as_json}", err=True)
    if html is not None:
        from automl_transfer.reporting.html.evaluation_page import evaluation_page

        write_text(html, evaluation_page(found))
        typer.echo(f"wrote {html}", err=True)
    sys.stdout.flush()
