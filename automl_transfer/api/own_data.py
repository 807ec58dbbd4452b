"""Whether data are those that a model was made with, and a split of them is the one that its search drew."""

from __future__ import annotations

from pathlib import Path

from automl_transfer.api.labelled import Labelled
from automl_transfer.api.rerun import named_alike
from automl_transfer.api.training import RECIPE
from automl_transfer.data.decode_all import Progress
from automl_transfer.data.far import Far
from automl_transfer.data.registry import parse
from automl_transfer.data.task import load_with_details
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import SPLITS, Split
from automl_transfer.recipes.best_strategy import Recipe


def is_named(recipe: Recipe, dataset: str, data_root: Path | None, far: Far) -> bool:
    """Whether data have the name of the model's own, whatever their options.

    Few-image versions are of the same images.
    """
    name, _, _ = parse(dataset, data_root, far)
    return named_alike(recipe, name) or name == recipe.task.name.partition("?")[0]


def unknown_splits(recipe: Recipe | None, own: bool) -> str | None:
    """Why nobody knows how the model's search drew splits of these data, and what to do; or None."""
    if recipe is None:
        return f"no readable {RECIPE} of this model beside its folder: put it there"
    if not own:
        return (
            f"another name than that of the model's own dataset, {recipe.task.name!r}: give the same images "
            "that name"
        )
    return None


def is_own_split(
    recipe: Recipe,
    spec: TaskSpec,
    data: Labelled,
    split: Split,
    data_root: Path | None,
    cache_root: Path | None,
    progress: Progress,
    expected: PixelRange,
) -> bool:
    """Whether a split of the model's own data is the one that its search drew.

    With other options than the search had (`per_class`) the data have another fingerprint: then those of the
    search are read as well. They must be what they were, and have none of these images in another split.
    """
    theirs = recipe.task
    if named_alike(recipe, data.name):
        return data.fingerprint == theirs.fingerprint
    if split == "train":  # nobody takes these for new images
        return True
    name, _, options = parse(spec.dataset, data_root, Far(cache_root, progress))
    place = spec.dataset.rpartition("?")[0] if options else spec.dataset
    query = "" if named_alike(recipe, name) else theirs.name.partition("?")[2]
    own = load_with_details(
        spec.model_copy(update={"dataset": f"{place}?{query}" if query else place}),
        data_root=data_root,
        cache_root=cache_root,
        progress=progress,
        expected=expected,
    ).loaded
    others = {own.keys[row] for each in SPLITS if each != split for row in own.indices[each]}
    judged = {data.keys[row] for row in data.rows}
    return own.task.fingerprint == theirs.fingerprint and judged <= {*own.keys} and judged.isdisjoint(others)
