"""A model judged on labelled images: its own test split, or any dataset that has its classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from contextlib import ExitStack
from os import PathLike, fspath
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from automl_transfer.api.frames import Frame, passing
from automl_transfer.api.labelled import Labelled, labelled
from automl_transfer.api.own_data import is_named, is_own_split, unknown_splits
from automl_transfer.api.rerun import task_of
from automl_transfer.api.training import MODEL, RECIPE
from automl_transfer.data.base import some
from automl_transfer.data.decode_all import Progress
from automl_transfer.data.far import Far
from automl_transfer.data.rare import OTHER
from automl_transfer.data.table_file import is_frame
from automl_transfer.domain.attack import Attack
from automl_transfer.domain.model_description import DESCRIPTION
from automl_transfer.domain.pixel_range import EIGHT_BITS
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strict_json import validate
from automl_transfer.domain.task import SPLITS, Split
from automl_transfer.errors import ConfigurationError, DataError, SourceError, UserError
from automl_transfer.files import kind_at
from automl_transfer.recipes.best_strategy import Recipe, read_recipe
from automl_transfer.recipes.predict import Predictor
from automl_transfer.reporting.errors_of_winner import WrongImage
from automl_transfer.reporting.evaluation import Evaluation, NotJudged, UnderAttack
from automl_transfer.reporting.judging import (
    Answers,
    at_thresholds,
    calibration_bins,
    expected_error,
    thumbnail,
)
from automl_transfer.reporting.statistics import clopper_pearson
from automl_transfer.training.calibration import log_likelihood, softmax

BATCH = 256
"""Images that are read at once; the network takes them in batches of its own."""
WORST = 12
OF_THE_MODEL = ("channels", "resolution", "fit", "on_bad_image")
"""Fields of a `TaskSpec` that are not for the user to set."""
EXAMPLES = 20
NEAR = 3


def evaluate(
    model: str | PathLike[str],
    dataset: str | PathLike[str] | TaskSpec | Frame,
    *,
    images: str | PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    split: Split | None = None,
    device: str = "cpu",
    batch: int | None = None,
    data_root: Path | None = None,
    cache_root: Path | None = None,
    progress: Progress | None = None,
    attack: str | Attack | None = None,
    **settings: object,
) -> Evaluation:
    """Judge a model on labelled images.

    >>> evaluate("runs/quick", "digits", split="test").accuracy  # doctest: +SKIP
    0.9944

    Classes are matched by name. Images that cannot be judged are counted: those that cannot be read, and
    those of classes that the model does not know.

    Args:
        model: A model folder, the run folder that holds it, or a file that `package` wrote as `safetensors`.
        dataset: A registered name, a folder, an .npz, a table of labels, a data frame, or a task
            specification.
        images: Of a table: the folder that its file names are relative to.
        columns: Of a table: which column is `file`, `label`, `split`; None guesses what is unambiguous.
        split: Only these images: as the dataset declares them, or as the model's own search has drawn them;
            None for all.
        device: As for `predict`.
        batch: Images a forward pass; by default what suits the resolution and the device.
        data_root: Where relative dataset folders lie on this machine.
        cache_root: Where decoded images are kept; None for the user's cache folder.
        progress: Called as `progress(what, done, total)`.
        attack: Judge the images once more under it: `fgsm:8/255`, `pgd:8/255:10`.
        settings: Fields of `TaskSpec`: `classes_from`, `split_from`, `exclude`, ... Those that say how images
            are split (`seed`, `splits`, `group_from`, `min_per_class`) matter with `split` alone.

    Raises:
        SourceError: There is no such model.
        DataError: The dataset cannot be used, has no such split, or none of the model's classes; or it is the
            model's own, and split in another way than its search did; or nobody knows how it was split.
        ConfigurationError: The split is none, or settings say what the model fixes.
    """
    from automl_transfer.training.device import resolve_device

    if split is not None and split not in SPLITS:
        raise ConfigurationError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    against = Attack.parse(attack) if isinstance(attack, str) else attack
    place = Path(model)
    folders = (place, place / MODEL)
    here, inside = (kind_at(folder / DESCRIPTION, "a model folder", SourceError) for folder in folders)
    if inside == "file" and here != "file":
        place = place / MODEL
    predictor = Predictor.load(place, resolve_device(device))
    recipe = _recipe_of(place, predictor)
    report = progress or (lambda what, done, total: None)
    # Scaled as `predict` scales them.
    scaled = predictor.description.pixel_range or EIGHT_BITS
    with ExitStack() as until:
        if is_frame(dataset):
            table = until.enter_context(passing(cast(Frame, dataset), images, columns))
            settings = {**settings, **table}
            dataset = str(table["dataset"])
        elif images is not None or columns is not None:
            if isinstance(dataset, TaskSpec):
                raise ConfigurationError("a task states images and columns itself: set them in the TaskSpec")
            settings = {**settings, "images": images and fspath(images), "columns": columns and dict(columns)}
        given = cast("str | PathLike[str] | TaskSpec", dataset)
        stated = isinstance(given, TaskSpec)
        name = given.dataset if isinstance(given, TaskSpec) else fspath(given)
        own = recipe is not None and is_named(recipe, name, data_root, Far(cache_root, report))
        spec = _spec(given, predictor, recipe, own, settings)
        side = predictor.description.resolution
        unknown = None if stated else unknown_splits(recipe, own)
        data = labelled(spec, side, split, data_root, cache_root, report, scaled, unknown=unknown)
        theirs = recipe if own else None
        same = (
            theirs is None
            or split is None
            or is_own_split(theirs, spec, data, split, data_root, cache_root, report, scaled)
        )
    notes = _notes(predictor, theirs, data, split, same=same, stated=stated)
    known = _known(data, predictor.description.classes, merged=spec.rare_classes == "merge")
    found = _judged(predictor, place, data, known, split, batch, notes, report)
    if against is None:
        return found
    return found.model_copy(update={"attacked": _attacked(predictor, data, known, against, report)})


def _recipe_of(model: Path, predictor: Predictor) -> Recipe | None:
    """The best-strategy file beside a model, where there is one and it is the model's."""
    file = model.absolute().parent / RECIPE
    try:
        recipe = read_recipe(file) if file.is_file() else None
    except (UserError, OSError):
        return None
    return recipe if recipe is not None and recipe.task.classes == predictor.description.classes else None


def _spec(
    dataset: str | PathLike[str] | TaskSpec,
    predictor: Predictor,
    recipe: Recipe | None,
    own: bool,
    given: Mapping[str, object],
) -> TaskSpec:
    if fixed := [f"{name}={given[name]!r}" for name in OF_THE_MODEL if given.get(name) is not None]:
        raise ConfigurationError(
            f"{', '.join(OF_THE_MODEL)} must be left to the model (images that cannot be read are counted), "
            f"got {', '.join(fixed)}: leave it out"
        )
    described = predictor.description
    if isinstance(dataset, TaskSpec):
        values = dataset.model_dump()
    elif recipe is not None:  # its own splits, and its own reading of its own folder
        values = task_of(recipe, fspath(dataset), own=own).model_dump()
    else:
        values = {"dataset": fspath(dataset)}
    values |= {name: value for name, value in given.items() if value is not None}
    values |= {
        "channels": described.in_channels,
        # What a model reads in detail is larger than its task, whose splits these are.
        "resolution": described.resolution if recipe is None else recipe.task.resolution,
        "fit": described.fit,
        "on_bad_image": "skip",  # counted, and said
    }
    return validate(TaskSpec, values, "the dataset")


def _judged(
    predictor: Predictor,
    model: Path,
    data: Labelled,
    known: npt.NDArray[np.int64],
    split: Split | None,
    batch: int | None,
    notes: tuple[str, ...],
    progress: Progress,
) -> Evaluation:
    described = predictor.description
    classes, temperature = described.classes, described.temperature
    others: list[npt.NDArray[np.float64]] = []
    not_finite = 0
    with Answers(len(data.rows), classes) as answers:
        for start in range(0, len(data.rows), BATCH):
            rows = data.rows[start : start + BATCH]
            truth = known[data.labels[rows]]
            logits = predictor.logits(np.asarray(data.images[rows]), batch)
            finite = np.isfinite(logits).all(axis=1)
            not_finite += int((~finite & (truth >= 0)).sum())
            probabilities = softmax(logits, temperature)
            others.append(probabilities[finite & (truth < 0)].max(axis=1, initial=0.0))
            use = finite & (truth >= 0)
            here = truth[use]
            answers.add(
                rows[use],
                here,
                probabilities[use],
                softmax(logits[use]),
                (log_likelihood(logits[use], here, temperature), log_likelihood(logits[use], here)),
            )
            progress("judging images", min(start + BATCH, len(data.rows)), len(data.rows))
        if not answers.filled:
            raise DataError(
                f"a dataset must have images that can be judged, got none in {data.name}: the model's output "
                f"is not finite for {not_finite} of its {len(data.rows)} images"
            )
        scored, right, n = answers.score(), answers.right(), answers.filled
        counts = np.bincount(data.labels[data.rows], minlength=len(data.classes))
        foreign = {
            name: int(counts[label])
            for label, name in enumerate(data.classes)
            if known[label] < 0 and counts[label]
        }
        bins = calibration_bins(answers.sure[:n], right)
        return Evaluation(
            model=model.absolute().parent.name if model.name == MODEL else model.name,
            weights_sha256=described.weights_sha256,
            dataset=data.name,
            split=split,
            images=n,
            not_judged=NotJudged(
                unreadable=len(data.unusable),
                examples=tuple((bad.key, bad.reason) for bad in data.unusable[:EXAMPLES]),
                other_classes=foreign,
                not_finite=not_finite,
            ),
            classes=classes,
            missing=tuple(each.name for each in scored.by_class if not each.images),
            accuracy=scored.accuracy,
            interval=scored.interval,
            balanced_accuracy=scored.balanced_accuracy,
            macro_f1=scored.macro_f1,
            nll=scored.nll,
            auroc=scored.auroc,
            calibration=bins,
            expected_calibration_error=expected_error(bins),
            temperature=None if described.calibration is None else temperature,
            uncalibrated_nll=-float(answers.log_truth_before[:n].mean()),
            uncalibrated_error=expected_error(calibration_bins(answers.sure_before[:n], right)),
            thresholds=at_thresholds(answers.sure[:n], right, np.concatenate(others)),
            by_class=scored.by_class,
            confusion=scored.confusion,
            wrong=n - int(right.sum()),
            worst=tuple(
                WrongImage(
                    file=data.keys[answers.rows[at]],
                    truth=classes[answers.truth[at]],
                    answer=classes[answers.answer[at]],
                    probability=float(answers.sure[at]),
                    of_truth=float(answers.of_truth[at]),
                    thumbnail=thumbnail(np.asarray(data.images[answers.rows[at]])),
                )
                for at in answers.worst(WORST)
            ),
            notes=notes,
        )


def _attacked(
    predictor: Predictor,
    data: Labelled,
    known: npt.NDArray[np.int64],
    attack: Attack,
    progress: Progress,
) -> UnderAttack:
    """The images of known classes, changed against the model."""
    truth = known[data.labels[data.rows]]
    rows, truth = data.rows[truth >= 0], truth[truth >= 0]
    right = 0
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        right += int(predictor.withstands(data.images, rows[part], truth[part], attack).sum())
        progress("attacking images", min(start + BATCH, len(rows)), len(rows))
    return UnderAttack(
        attack=str(attack),
        kind=attack.kind,
        eps=attack.eps,
        steps=attack.steps,
        accuracy=right / len(rows),
        interval=clopper_pearson(right, len(rows)),
    )


def _known(data: Labelled, classes: tuple[str, ...], *, merged: bool) -> npt.NDArray[np.int64]:
    """(classes of the dataset,) the model's positions of them; -1 where it does not know one.

    With `merged`, classes that it does not have by name are those that became its class `other`.
    """
    place = {_spelled(name): label for label, name in enumerate(classes)}
    strange = place.get(OTHER, -1) if merged else -1
    found = np.array([place.get(_spelled(name), strange) for name in data.classes], np.int64)
    if not (found[data.labels[data.rows]] >= 0).any():
        folded = {name.casefold() for name in place}
        near = [name for name in data.classes if _spelled(name).casefold() in folded]
        hint = f"; {some(near, NEAR)} differs in its capitals only" if near else ""
        raise DataError(
            f"the dataset must have images of the model's classes ({some(classes, 5)}), got {data.name} with "
            f"{some(data.classes, 5)}{hint}: name its classes as the model's are named"
        )
    return found


def _spelled(name: str) -> str:
    """One spelling of what looks the same: folders come from different file systems."""
    return unicodedata.normalize("NFC", name)


def _notes(
    predictor: Predictor,
    recipe: Recipe | None,
    data: Labelled,
    split: Split | None,
    *,
    same: bool,
    stated: bool,
) -> tuple[str, ...]:
    """What keeps these numbers from being those of new images.

    Args:
        predictor: The model.
        recipe: Its own, where the data have the name of those that it was made with.
        data: What it is judged on.
        split: Of these data.
        same: Whether it is the one that the model's search drew, where the recipe is given.
        stated: Whether somebody gave a task that says how they are split.

    Raises:
        DataError: They are said to be of the model's own split, and are not; unless `stated`.
    """
    notes = []
    theirs, here = predictor.description.pixel_range or EIGHT_BITS, data.pixel_range or EIGHT_BITS
    if here != theirs:
        notes.append(
            f"The images' numbers are read as {here}, those that the model was trained on as {theirs}: "
            "'predict' scales by the model's, or refuses what would be black or white by it."
        )
    if recipe is None:
        return tuple(notes)
    if split is None:
        notes.append(
            "If these are the images that the model was made with, it was trained on some of them. "
            "--split test judges those that it has not seen."
        )
    elif not same:
        if recipe.task.split_seed is not None and split != "train" and not stated:
            raise DataError(
                f"the {split} split of the model's own dataset must be the one that its search has drawn, "
                f"got another one of {data.name}: say what it was told (--group-from, --exclude, ...); where "
                "the images are others by now, leave --split out, or name their dataset otherwise"
            )
        notes.append(
            "The dataset is not what it was when the model was trained: some of these images may have been "
            "trained on."
        )
    elif split == "train" or (split == "validation" and recipe.training.refit):
        notes.append("The model was trained on these images.")
    elif split == "validation":
        notes.append("The strategy was chosen by these images, so the scores are a little too high.")
    return tuple(notes)
