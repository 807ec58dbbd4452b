"""`automl-transfer verify`: runs a best-strategy file again and says whether it keeps its word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import DatasetOption, EpochsShown, RecipeArgument, SourceOption, columns_of
from automl_transfer.cli.screen import console, print_json

if TYPE_CHECKING:
    from automl_transfer.api.verifying import Verdict

WHAT = {
    "identical": "the same weights, bit for bit",
    "within": "other weights, the same accuracy within the tolerance",
    "outside": "other weights, and no accuracy within the tolerance",
}


def run(
    recipe: RecipeArgument,
    dataset: DatasetOption = None,
    source: SourceOption = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Difference in accuracy that is within, 0 to 1.")
    ] = 0.01,
    images: options.Images = None,
    columns: options.Columns = None,
    group_from: options.GroupFrom = None,
    on_bad_image: options.OnBadImage = None,
    exclude: options.Exclude = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Train a best-strategy file again on its own data and compare. Exit code 1 where it is outside.

    \b
    $ automl-transfer verify runs/quick/best_strategy.json
    identical: the same weights, bit for bit; validation 0.9972, test 0.9916
    """
    from automl_transfer.api.rerun import task_of
    from automl_transfer.api.verifying import verify
    from automl_transfer.recipes.best_strategy import read_recipe

    read = read_recipe(recipe)
    refit = read.training.refit
    with EpochsShown(max(1, read.training.epochs), quiet=as_json) as shown:
        verdict = verify(
            read,
            task_of(
                read,
                dataset,
                own=True,
                images=images,
                columns=columns_of(columns),
                group_from=group_from,
                on_bad_image=on_bad_image,
                exclude=exclude,
            ),
            source=source,
            tolerance=tolerance,
            device=device,
            data_root=data_root,
            cache_root=cache,
            on_epoch=shown.on_epoch,
        )
    if as_json:
        print_json(
            {
                "verdict": verdict.word,
                "expected": verdict.expected.model_dump(mode="json"),
                "found": verdict.found.model_dump(mode="json", exclude={"validation"} if refit else None),
                "differences": list(verdict.differences),
            }
        )
    else:
        _print(verdict, refit)
    if verdict.word == "outside":
        raise typer.Exit(1)


def _print(verdict: Verdict, refit: bool) -> None:
    found, expected = verdict.found, verdict.expected
    # A refitted model has trained on the validation images.
    names = ["test"] if refit else ["validation", "test"]
    pairs = [(name, getattr(found, name), getattr(expected, name)) for name in names]
    scores = [f"{name} {score.accuracy:.4f}" for name, score, _ in pairs if score is not None]
    line = "; ".join(filter(None, (f"{verdict.word}: {WHAT[verdict.word]}", ", ".join(scores))))
    said = [f"{score.accuracy:.4f}" for _, _, score in pairs if score is not None]
    if verdict.word != "identical" and said:
        line += f" (the file says {' and '.join(said)})"
    lines = [line]
    if verdict.word != "identical":
        reasons = verdict.differences or ("nothing that is known; perhaps the trial was continued elsewhere",)
        lines += [f"  why they may differ: {reason}" for reason in reasons]
    for line in lines:
        console().print(line, markup=False, soft_wrap=True)
