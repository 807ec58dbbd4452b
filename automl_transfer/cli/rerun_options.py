"""What `apply` and `verify` share: their arguments, and a progress bar over epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli.options import console

if TYPE_CHECKING:
    from automl_transfer.domain.records import EpochResult
    from automl_transfer.recipes.best_strategy import Recipe

RecipeArgument = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A best_strategy.json.", exists=True, dir_okay=False)
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", help="A name, folder, .npz or table of labels (default: the recipe's own)."),
]
SourceOption = Annotated[
    str | None,
    typer.Option("--source", help="Another source, or checkpoint/ARCHITECTURE@PATH of a file here."),
]


@contextmanager
def epochs_shown(
    recipe: Recipe, seeds: int = 1, *, quiet: bool = False
) -> Iterator[Callable[[int, EpochResult], None]]:
    """A progress bar over the epochs of all seeds, on stderr."""
    from rich.progress import Progress

    screen = console(stderr=True)
    with Progress(console=screen, transient=True, disable=quiet or not screen.is_terminal) as progress:
        task = progress.add_task("training", total=seeds * max(1, recipe.training.epochs))

        def on_epoch(seed: int, result: EpochResult) -> None:
            progress.update(
                task, advance=1, description=f"seed {seed}, epoch {result.epoch}: {result.accuracy:.4f}"
            )

        yield on_epoch
