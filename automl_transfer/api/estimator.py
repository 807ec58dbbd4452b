"""`TransferClassifier`: transfer learning for images as a scikit-learn estimator."""

from __future__ import annotations

import copy
import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from automl_transfer.api.front import search
from automl_transfer.api.pixel_input import PixelInput
from automl_transfer.api.rerun import require_taken
from automl_transfer.api.training import calibration_of, predictor_of, strategy_of_any
from automl_transfer.data.explore import Exploration, describe
from automl_transfer.data.in_memory import task_in_memory
from automl_transfer.data.task import LoadedDetails
from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.domain.spec import MOST_SEED, PRECISIONS, Precision
from automl_transfer.domain.strategy import Strategy, require_methods
from automl_transfer.domain.task import LARGEST_SIDE, SMALLEST_SIDE
from automl_transfer.errors import ConfigurationError
from automl_transfer.recipes.best_strategy import Recipe
from automl_transfer.recipes.predict import Predictor
from automl_transfer.training.calibration import softmax
from automl_transfer.training.making import make_run, train_to_the_end

if TYPE_CHECKING:
    import torch

    from automl_transfer.models.heads import TargetModel
    from automl_transfer.models.network import Backbone
    from automl_transfer.training.run import TrainingRun

PROFILE, SEARCH = "profile", "search"
DEFAULT_SOURCE = "efficientnet-lite0"


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifies images with a pretrained network, transferred as a strategy says.

    X is an array of images (n, H, W) or (n, H, W, 1 | 3), or (n, numbers) with one image a row: gray
    squares, as `load_digits().data` has them, or of the shape `image_shape`. Numbers may have any type: which
    are black and white is judged in `fit`, by the values of all images together (0 to 1, 0 to 16, 8 to 16
    bits, -1 to 1; `pixel_range_` says it), and kept. What fits no usual range is scaled linearly between its
    extremes, with a warning.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import cross_val_score
    >>> digits = load_digits()
    >>> cross_val_score(TransferClassifier(), digits.images, digits.target).mean()  # doctest: +SKIP
    0.988

    Args:
        strategy: How to transfer. "profile": the cut of `source` whose closed-form head generalises best
            (leave-one-out), from one forward pass: seconds, and nothing is trained by gradient.
            "search": a search of strategies under the budget. A `Strategy`, a dictionary of its fields,
            or a best-strategy file (its path, or a `Recipe`): that strategy.
        source: The pretrained network, for "profile".
        epochs: Horizon of the training, where a strategy trains; the best epoch on held-out images counts.
        held_out: Share of each class in X that chooses the epoch, or the winner of a search.
        image_shape: Of X's rows, (H, W) or (H, W, 3), or (3, H, W) where a row has one colour after the
            other, as CIFAR's files have it; "padded" lets rows of any length fill the smallest square that
            holds them. None takes gray squares only.
        pixel_range: The numbers (low, high) that are black and white; None judges them by X's values.
        resolution: Pixels; None takes a multiple of 32 near the images' size.
        trials: Strategies to try in a search; by default as many as the preset `quick` says.
        minutes: Time for a search; by default that of the preset `quick`.
        random_state: An int gives the same model again, bit for bit on the same machine and threads; not with
            "search", where the time that trainings take decides what is tried.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: Of a strategy that trains, as for `ModelMigration`: `fp32`, or mixed with `bf16` or `fp16`.

    Attributes:
        classes_: Labels, sorted; columns of `predict_proba`.
        n_features_in_: Size of X's second axis in `fit`.
        pixel_range_: Which numbers are black and white.
        strategy_: What was trained.
        predictor_: The fitted network, see `Predictor`.
        recipe_: The recipe of a search's winner; None for other strategies.
    """

    def __init__(
        self,
        strategy: str | PathLike[str] | Strategy | Recipe | Mapping[str, Any] = PROFILE,
        *,
        source: str = DEFAULT_SOURCE,
        epochs: int = 9,
        held_out: float = 0.2,
        image_shape: Sequence[int] | str | None = None,
        pixel_range: Sequence[float] | PixelRange | None = None,
        resolution: int | None = None,
        trials: int | None = None,
        minutes: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
    ) -> None:
        self.strategy = strategy
        self.source = source
        self.epochs = epochs
        self.held_out = held_out
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.resolution = resolution
        self.trials = trials
        self.minutes = minutes
        self.random_state = random_state
        self.device = device
        self.precision = precision

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803  (scikit-learn's names)
        """Transfer the network to images X with labels y. Where that fails, an earlier fit stays as it was.

        Args:
            X: The images.
            y: Their labels.
            sample_weight: How often each image counts in training (2: as if it were there twice, 0: not at
                all); None: once. Images that are held out, or choose a search's winner, count once each.

        Raises:
            ValueError: X is no array of images, y no labels or sample_weight no weights of them, or there is
                only one class.
            ConfigurationError: A parameter cannot be, or the source cannot take the strategy.
            SourceError: The source is not on this machine.
        """
        fresh = copy.copy(self)  # no clone: it draws from the same `random_state`
        fresh._fit(X, y, sample_weight)
        self.__dict__ = fresh.__dict__
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:  # noqa: N803
        details, seed = self._prepared(X, y, sample_weight)
        self.recipe_: Recipe | None = None
        if isinstance(self.strategy, str) and self.strategy == SEARCH:
            self._search(details, seed)
            return
        run = self._run(details, seed)
        train_to_the_end(run)
        self.strategy_ = run.plan.strategy
        self.predictor_ = predictor_of(
            run, _backbone(self.strategy_.source, details.loaded.task.channels), calibration_of(run)
        )

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """The most probable class of each image."""
        probabilities = self.predict_proba(X)
        labels: npt.NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """(n, classes) probabilities, columns in the order of `classes_`."""
        check_is_fitted(self, "predictor_")
        logits = self.predictor_.logits(self._input.pixels(self, X))
        return softmax(logits, self.predictor_.description.temperature)

    def explore_data(self, X: Any, y: Any) -> Exploration:  # noqa: N803
        """Classes, balance, duplicates and conflicting labels of images, before anything is trained."""
        details, _ = clone(self)._prepared(X, y)  # a fitted estimator stays what it is
        return describe(details)

    def generate_target_model(self, X: Any, y: Any) -> TargetModel:  # noqa: N803
        """The network that the strategy makes for these images, before any training by gradient.

        Cut, transferred, initialised, with a new head that is solved where the strategy says so. It takes
        normalised float32 (n, channels, resolution, resolution) and gives logits.

        Raises:
            ConfigurationError: The strategy is a search, which makes many, or the source cannot take it.
        """
        if isinstance(self.strategy, str) and self.strategy == SEARCH:
            raise ConfigurationError(
                "a target model needs one strategy, got a search: fit, and take `predictor_.model`"
            )
        details, seed = clone(self)._prepared(X, y)
        model: TargetModel = self._run(details, seed).model
        return model

    def __sklearn_tags__(self) -> Any:
        """Images are three-dimensional input."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _prepared(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[LoadedDetails, int]:  # noqa: N803
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        self._check()
        self._input = PixelInput(self.resolution, self.image_shape, self.pixel_range)
        pixels, labels, weights = self._input.fit(self, X, y, sample_weight)
        self.pixel_range_ = self._input.pixel_range
        check_classification_targets(labels)
        self.classes_, encoded = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y must hold at least two classes, got one class: {self.classes_[0]!r}: "
                "a classifier has nothing to tell apart"
            )
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        if not 0 <= seed <= MOST_SEED:
            raise ConfigurationError(f"random_state must lie in 0..{MOST_SEED}, got {seed}")
        details = task_in_memory(
            pixels,
            encoded.astype(np.int64),
            _names(self.classes_),
            pixel_range=self.pixel_range_,
            weights=weights,
            held_out=0.0 if self._solves() else self.held_out,
            seed=int(seed),
        )
        return details, int(seed)

    def _check(self) -> None:
        """Refuse parameters that cannot be, all of them at once."""
        mistakes = []
        if not _is_number(self.held_out) or not 0.0 <= self.held_out < 1.0:
            mistakes.append(f"held_out must be a number, at least 0 and below 1, got {self.held_out!r}")
        if not _is_whole(self.epochs) or self.epochs < 1:
            mistakes.append(f"epochs must be a whole number >= 1, got {self.epochs!r}")
        if self.resolution is not None and not (
            _is_whole(self.resolution) and SMALLEST_SIDE <= self.resolution <= LARGEST_SIDE
        ):
            mistakes.append(
                f"resolution must be None or a whole number in {SMALLEST_SIDE}..{LARGEST_SIDE}, "
                f"got {self.resolution!r}"
            )
        if self.precision not in PRECISIONS:
            mistakes.append(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if isinstance(self.random_state, bool):
            mistakes.append(f"random_state must be a whole number or None, got {self.random_state!r}")
        named = isinstance(self.strategy, str) and self.strategy not in (PROFILE, SEARCH)
        if named and not os.path.exists(str(self.strategy)):  # noqa: PTH110 never raises
            mistakes.append(
                f"strategy must be {PROFILE!r}, {SEARCH!r}, a Strategy, its fields, or a best-strategy file "
                f"that exists, got {self.strategy!r}"
            )
        if mistakes:
            raise ConfigurationError(mistakes)

    def _solves(self) -> bool:
        """Whether nothing is trained by gradient, so that no image need be held out."""
        if isinstance(self.strategy, str) and self.strategy in (PROFILE, SEARCH):
            return self.strategy == PROFILE
        return strategy_of_any(self.strategy).tune_mode == CLOSED_FORM

    def _run(self, details: LoadedDetails, seed: int) -> TrainingRun:
        from automl_transfer.training.device import resolve_device
        from automl_transfer.training.precision import check_precision

        device = resolve_device(self.device)
        check_precision(self.precision, device)
        if isinstance(self.strategy, str) and self.strategy == PROFILE:
            strategy = self._profiled(details, seed, device)
        else:
            strategy = strategy_of_any(self.strategy)
            require_methods(strategy)
            require_taken(strategy)
        backbone = _backbone(strategy.source, details.loaded.task.channels)
        return make_run(
            strategy,
            details.loaded,
            backbone,
            horizon=Horizon(self.epochs),
            seed=seed,
            device=device,
            precision=self.precision,
        )

    def _profiled(self, details: LoadedDetails, seed: int, device: torch.device) -> Strategy:
        from automl_transfer.training.profile import Profiler, strategy_of

        backbone = _backbone(self.source, details.loaded.task.channels)
        return strategy_of(Profiler(backbone, self.source, details.loaded, device=device, seed=seed).whole())

    def _search(self, details: LoadedDetails, seed: int) -> None:
        loaded = details.loaded
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            place = Path(folder)
            splits: dict[str, Any] = {
                f"{kind}_{split}": array[loaded.indices[split]]
                for split in ("train", "validation")
                for kind, array in (("images", loaded.images), ("labels", loaded.labels))
            }
            if loaded.weights is not None:
                both = [loaded.indices["train"], loaded.indices["validation"]]
                splits["weights"] = loaded.weights[np.concatenate(both)]
            np.savez(place / "arrays.npz", classes=np.array(loaded.task.classes), **splits)
            found = search(
                f"{place / 'arrays.npz'}?range=0..255",
                trials=self.trials,
                minutes=self.minutes,
                settings={
                    "task.resolution": loaded.task.resolution,
                    "task.channels": loaded.task.channels,
                    "search.seed": seed,
                    "search.max_epochs": self.epochs,
                    "search.precision": self.precision,
                },
                output=place / "results",
                storage=str(place / "study.db"),
                device=self.device,
                cache_root=place / "cache",
            )
            if found.recipe is None or found.model is None:
                raise ConfigurationError(
                    f"a search must complete a trial, got none ({found.reason}): give it more minutes or "
                    "trials"
                )
            scaled = {"pixel_range": self.pixel_range_}
            task = found.recipe.task.model_copy(update=scaled)
            self.recipe_ = found.recipe.model_copy(update={"task": task})
            self.strategy_ = found.recipe.strategy
            from automl_transfer.training.device import resolve_device

            self.predictor_ = Predictor.load(found.model, resolve_device(self.device))
            self.predictor_.description = self.predictor_.description.model_copy(update=scaled)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


@functools.lru_cache(maxsize=2)
def _backbone(source: str, channels: int) -> Backbone:
    """A source's network, kept for the next fit: plans work on copies."""
    from automl_transfer.models.registry import get_source

    return get_source(source).load(channels)


def _names(classes: npt.NDArray[Any]) -> tuple[str, ...]:
    """Names for labels of any type: their text, or their position where texts are empty or alike."""
    names = [str(label) for label in classes]
    if len(set(names)) < len(names) or not all(names):
        names = [str(position) for position in range(len(names))]
    return tuple(names)
