"""`automl-transfer train`: one strategy by hand, from its plan to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import EpochsShown, columns_of, precision_of
from automl_transfer.cli.screen import console

if TYPE_CHECKING:
    from automl_transfer.domain.horizon import Horizon
    from automl_transfer.transfer.plan import TransferPlan


def run(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Name, folder, .npz or table of labels.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="DIMENSION=VALUE", help="Of the strategy (see space), or task.KEY of the data."
        ),
    ] = None,
    strategy: Annotated[
        Path | None,
        typer.Option(
            "--strategy", metavar="FILE", help="What --set does not name: a recipe, or a strategy in JSON."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="A new folder. Default: runs/DATASET-train."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, max=10_000, help="Default: long enough for the data.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", min=1, max=100_000_000, help="Of the optimiser, in all, rounded up to whole epochs."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn.")] = 0,
    refit: options.Refit = None,
    precision: options.PrecisionName = "fp32",
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
    """Train one strategy by hand and ship the model; nothing is searched.

    \b
    $ automl-transfer train photos/cats --set tune_mode=full --set learning_rate=0.001 --epochs 10
    ...
    validation 0.9722, test 0.9716 [0.9412, 0.9865] (n = 360)
    wrote runs/cats-train/: best_strategy.json, model/
    """
    from automl_transfer.api.front import train
    from automl_transfer.domain.dimensions import CLOSED_FORM
    from automl_transfer.errors import ConfigurationError
    from automl_transfer.space.study_file import parsed_setting

    of_task = {
        "task.group_from": group_from,
        "task.on_bad_image": on_bad_image,
        "task.classes_from": classes_from,
        "task.split_from": split_from,
        "task.rare_classes": rare_classes,
        "task.min_per_class": min_per_class,
        "task.exclude": exclude,
    }
    named = dict(map(parsed_setting, settings or []))
    chosen = columns_of(columns)
    roles = {f"task.columns.{role}": column for role, column in (chosen or {}).items()}
    given = {**of_task, "task.images": images, "task.columns": chosen, **roles}
    if mistakes := [
        f"{key}: must be said once, got it by --set and as {value!r}: leave one of them out"
        for key, value in given.items()
        if value is not None and key in named
    ]:
        raise ConfigurationError(mistakes)
    with EpochsShown() as shown:

        def on_plan(plan: TransferPlan, horizon: Horizon) -> None:
            solved = plan.strategy.tune_mode == CLOSED_FORM
            length = "the head is solved: no epochs" if solved else horizon.text
            epochs = 1 if solved else horizon.epochs
            shown.begin(epochs, f"{plan.strategy.describe()}\n{plan.describe()}\n{length}")

        trained = train(
            dataset,
            strategy,
            settings=named | {key: value for key, value in of_task.items() if value is not None},
            output=output,
            images=images,
            columns=chosen,
            epochs=epochs,
            steps=steps,
            seed=seed,
            refit=refit is not False,
            device=device,
            precision=precision_of(precision),
            data_root=data_root,
            cache_root=cache,
            on_progress=shown.on_progress,
            on_plan=on_plan,
            on_epoch=lambda result: shown.on_epoch(seed, result),
        )
    metrics = trained.recipe.metrics
    line = f"validation {metrics.validation.accuracy:.4f}"
    if metrics.test is not None:
        low, high = metrics.test.interval
        line += f", test {metrics.test.accuracy:.4f} [{low:.4f}, {high:.4f}] (n = {metrics.test.n})"
    screen = console()
    screen.print(line, markup=False)
    screen.print(f"wrote {trained.model.parent}/: best_strategy.json, model/", markup=False, soft_wrap=True)
