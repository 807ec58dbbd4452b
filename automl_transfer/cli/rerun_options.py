"""What `apply`, `train` and `verify` share: arguments, and a progress bar over epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from automl_transfer.cli.options import console, watched

if TYPE_CHECKING:
    from automl_transfer.domain.records import EpochResult

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


class EpochsShown:
    """A progress bar over images and then epochs, on stderr; where nobody watches, a line for each epoch.

    Args:
        epochs: Of all seeds together; None where `begin` says it.
        quiet: Whether nothing is shown.
    """

    def __init__(self, epochs: int | None = None, *, quiet: bool = False) -> None:
        from rich.progress import Progress

        self._screen = console(stderr=True)
        self._lines = not quiet and not watched(self._screen)
        self._progress = Progress(console=self._screen, transient=True, disable=quiet or self._lines)
        self._task = self._progress.add_task("training", total=epochs)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Something that is no epoch of a seed goes on."""
        self._progress.update(self._task, description=what, completed=done, total=total)

    def begin(self, epochs: int, text: str) -> None:
        """Print a text, for people who keep it; then epochs follow."""
        self._progress.stop()
        console().print(text, markup=False, soft_wrap=True)
        self._progress.reset(self._task, total=epochs, description="training")
        self._progress.start()

    def on_epoch(self, seed: int, result: EpochResult) -> None:
        """An epoch has ended."""
        text = f"seed {seed}, epoch {result.epoch}: {result.accuracy:.4f}"
        self._progress.update(self._task, advance=1, description=text)
        if self._lines:
            self._screen.print(text, markup=False)
