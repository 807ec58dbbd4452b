"""The model card: a few lines of Markdown for whoever finds the folder."""

from __future__ import annotations

import re

from automl_transfer.domain.model_description import ModelDescription
from automl_transfer.domain.pixel_range import EIGHT_BITS
from automl_transfer.printable import visible
from automl_transfer.recipes.best_strategy import Provenance, Recipe, RecipeTask
from automl_transfer.recipes.scores import Confirmed, Cost, OverSeeds, Score
from automl_transfer.recipes.shipped_as import ShippedAs

MOST_CLASSES = 50


def model_card(description: ModelDescription, recipe: Recipe) -> str:
    """Markdown: what the model is, its classes, how well it does, its licence, how to predict."""
    classes = [f"`{_code(name)}`" for name in description.classes[:MOST_CLASSES]]
    left = len(description.classes) - len(classes)
    more = f" and {left} more (see model.json)" if left else ""
    colour = "gray" if description.in_channels == 1 else "RGB"
    size = f"{FITTED[description.fit]} {description.resolution}x{description.resolution} {colour}"
    source = recipe.source
    licence = _plain(source.licence) if source.licence else "not stated by the source"
    trained = "training and validation" if recipe.training.refit else "training"
    lines = [
        f"# {_plain(recipe.task.name)}: an image classifier",
        "",
        f"- **What**: {_plain(recipe.strategy.describe())}.",
        *_shipped_as(recipe.shipped_as),
        f"- **Input**: images of any size; they are {size}.{_range(description)}",
        f"- **Classes** ({len(description.classes)}): {', '.join(classes)}{more}.",
        f"- **Test**: {_score(recipe.metrics.test)}",
        f"- **Validation**: {_score(recipe.metrics.validation)} "
        f"The {'epoch' if recipe.provenance.study is None else 'strategy'} was picked by it, so it is "
        "optimistic.",
        *_confirmed(recipe.metrics.confirmation, recipe.shipped_as),
        *_over_seeds(recipe.metrics.seeds),
        *_cost(recipe.cost),
        _calibration(description),
        f"- **Trained on**: the {trained} images of {_plain(recipe.task.name)} "
        f"(fingerprint `{recipe.task.fingerprint[:16]}`){_counted(recipe.task)}.",
        f"- **Weights transferred from**: {_plain(source.name)}; licence: {licence}.{_others(recipe)}",
        f"- **Found by**: {_finder(recipe.provenance)}.",
        "",
        "Predict:",
        "",
        "```sh",
        "automl-transfer predict . IMAGES_OR_FOLDER",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _counted(task: RecipeTask) -> str:
    return "" if task.weights is None else f"; {task.weights.describe()}"


def _shipped_as(found: ShippedAs | None) -> list[str]:
    if found is None:
        return []
    of = {
        "winner": "the winner of the search",
        "soup": "the mean of the weights of several trials",
        "ensemble": "several trials' networks; probabilities are the mean of theirs",
    }[found.kind]
    parts = ", ".join(f"trial {each.trial} ({100 * each.share:.0f}%)" for each in found.parts)
    flips = "; each image is looked at together with its mirror image" if found.flips else ""
    text = f"- **Ships as**: {of}{': ' + parts if parts else ''}{flips}."
    return [f"{text} Chosen and compared {found.comparison()}." if found.offered else text]


def _finder(origin: Provenance) -> str:
    if origin.study is None:
        return "no search: somebody chose the strategy, and `automl-transfer train` trained it"
    return f"study {_plain(origin.study)}, trial {origin.trial}"


FITTED = {
    "squash": "resized to",
    "crop": "cropped to their middle square, then resized to",
    "pad": "resized and padded with gray to",
}


def _range(description: ModelDescription) -> str:
    pixels = description.pixel_range
    if pixels is None or pixels == EIGHT_BITS:
        return ""
    return f" Black is {pixels.low:g} and white is {pixels.high:g}, as in the images it was trained on."


def _score(score: Score | None) -> str:
    if score is None:
        return "not evaluated, the task has no test split."
    low, high = score.interval
    text = f"accuracy {100 * score.accuracy:.2f}% (95% interval {100 * low:.1f} to {100 * high:.1f}%"
    text += f", {score.n} images)"
    if score.balanced_accuracy is not None:
        text += f", balanced accuracy {100 * score.balanced_accuracy:.2f}%"
    return text + "."


def _others(recipe: Recipe) -> str:
    if recipe.other_sources:
        told = (
            f"{_plain(each.name)}; licence: {_plain(each.licence or 'not stated by the source')}"
            for each in recipe.other_sources
        )
        return f" Of other parts: {'. And: '.join(told)}."
    parts = recipe.shipped_as.parts if recipe.shipped_as is not None else ()
    names = sorted({part.strategy.source for part in parts} - {recipe.source.name})
    if not names:  # of versions that stated one licence
        return ""
    return f" Of other parts: {', '.join(map(_plain, names))}, whose own licences hold as well."


def _confirmed(found: Confirmed | None, shipped_as: ShippedAs | None) -> list[str]:
    if found is None:
        return []
    low, high = found.interval
    whose = " (the winner alone)" if shipped_as is not None and shipped_as.parts else ""
    return [
        f"- **Confirmed**{whose}: accuracy {100 * found.accuracy:.2f}% on average (95% interval "
        f"{100 * low:.1f} to {100 * high:.1f}%) over {found.runs} trainings with fresh seeds and splits."
    ]


def _over_seeds(seeds: OverSeeds | None) -> list[str]:
    if seeds is None:
        return []
    low, high = seeds.interval
    return [
        f"- **Over {len(seeds.runs)} seeds**: accuracy {100 * seeds.accuracy:.2f}% on average "
        f"(95% interval {100 * low:.1f} to {100 * high:.1f}%)."
    ]


def _cost(cost: Cost | None) -> list[str]:
    if cost is None:
        return []
    return [
        f"- **Cost**: {cost.parameters:,} weights, {cost.trained_parameters:,} of them trained, in "
        f"{cost.train_seconds:.1f} s; {cost.predict_ms_per_image:.2g} ms an image where it was trained."
    ]


def _calibration(description: ModelDescription) -> str:
    found = description.calibration
    if found is None:
        return "- **Probabilities**: those of the network itself, not calibrated."
    text = f"- **Probabilities**: calibrated: softmax of the logits divided by {found.temperature:.3g}"
    if found.nll_before is not None and found.nll_after is not None:
        text += f", fitted on {found.images} validation images "
        text += f"(their NLL before {found.nll_before:.3f}, after {found.nll_after:.3f})"
    return f"{text}."


def _code(name: str) -> str:
    return visible(" ".join(name.replace("`", "'").split()))


def _plain(text: str) -> str:
    """Names are text: none of Markdown's signs, no HTML."""
    return re.sub(r"([\\`*\[\]<>|#!])", r"\\\1", visible(" ".join(text.split())))
