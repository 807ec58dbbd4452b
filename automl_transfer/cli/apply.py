"""`automl-transfer apply`: trains a best-strategy file's strategy on any data and ships the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import DatasetOption, EpochsShown, RecipeArgument, SourceOption, columns_of
from automl_transfer.cli.screen import console


def run(
    recipe: RecipeArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder.")],
    dataset: DatasetOption = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Trainings, each its own seed.")] = 1,
    source: SourceOption = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", min=8, max=4096, help="Pixels (default: the dataset's).")
    ] = None,
    images: options.Images = None,
    columns: options.Columns = None,
    group_from: options.GroupFrom = None,
    on_bad_image: options.OnBadImage = None,
    classes_from: options.ClassesFrom = None,
    split_from: options.SplitFrom = None,
    rare_classes: options.RareClasses = None,
    min_per_class: options.MinPerClass = None,
    exclude: options.Exclude = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
) -> None:
    """Train the strategy of a best-strategy file, on its own data or on others.

    \b
    $ automl-transfer apply runs/quick/best_strategy.json --dataset photos/cats -o cats
    test accuracy 0.9716 [0.9412, 0.9865] (n = 360)
    wrote cats/: best_strategy.json, model/
    """
    from automl_transfer.api.applying import apply
    from automl_transfer.api.rerun import task_of
    from automl_transfer.recipes.best_strategy import read_recipe

    read = read_recipe(recipe)
    spec = task_of(
        read,
        dataset,
        resolution=resolution,
        images=images,
        columns=columns_of(columns),
        group_from=group_from,
        on_bad_image=on_bad_image,
        classes_from=classes_from,
        split_from=split_from,
        rare_classes=rare_classes,
        min_per_class=min_per_class,
        exclude=exclude,
    )
    with EpochsShown(seeds * max(1, read.training.epochs)) as shown:
        applied = apply(
            read,
            spec,
            output,
            seeds=seeds,
            source=source,
            device=device,
            data_root=data_root,
            cache_root=cache,
            on_epoch=shown.on_epoch,
        )
    screen = console()
    length, before = applied.recipe.training.horizon, read.training.horizon
    if length != before:
        screen.print(
            f"trained for {length.text}, as suits {applied.recipe.task.splits.train:,} training images (the "
            f"recipe's own {read.task.splits.train:,}: {before.text})",
            markup=False,
            soft_wrap=True,
        )
    test = applied.recipe.metrics.test
    if test is not None:
        low, high = test.interval
        screen.print(
            f"test accuracy {test.accuracy:.4f} [{low:.4f}, {high:.4f}] (n = {test.n})", markup=False
        )
    if seeds > 1 and applied.test_accuracy is not None:
        mean, spread = applied.test_accuracy
        screen.print(
            f"over {seeds} seeds: mean {mean:.4f}, standard deviation {spread:.4f}; shipped is seed "
            f"{applied.recipe.training.seed}, the best on validation",
            markup=False,
            soft_wrap=True,
        )
    screen.print(f"wrote {output}/: best_strategy.json, model/", markup=False)
