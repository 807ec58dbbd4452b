"""One strategy by hand, step by step: compare, build, train, test, predict, ship."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from automl_transfer.api.frames import Frame, stated
from automl_transfer.api.rerun import require_taken
from automl_transfer.api.training import (
    AnyStrategy,
    calibration_of,
    check_new_folder,
    predictor_of,
    recipe_alone,
    score_of,
    score_on_test,
    strategy_of_any,
    training_of,
    write_alone,
)
from automl_transfer.data.explore import Exploration
from automl_transfer.data.explore import explore as explore_task
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.dimensions import is_pretrained
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.model_description import Calibration
from automl_transfer.domain.records import EpochResult
from automl_transfer.domain.spec import Precision, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy, require_methods
from automl_transfer.domain.strict_json import validate
from automl_transfer.domain.task import scaled
from automl_transfer.errors import ConfigurationError, DataError
from automl_transfer.machine import ensure_home, path_of
from automl_transfer.recipes.best_strategy import Recipe
from automl_transfer.recipes.inputs import Inputs
from automl_transfer.recipes.predict import Predictor
from automl_transfer.recipes.predictions import Prediction
from automl_transfer.recipes.scores import RecipeMetrics, Score
from automl_transfer.space.by_hand import ByHand, by_hand
from automl_transfer.space.space import Space
from automl_transfer.training.making import make_run, train_to_the_end

if TYPE_CHECKING:
    import torch

    from automl_transfer.models.heads import TargetModel
    from automl_transfer.models.network import Backbone
    from automl_transfer.training.run import TrainingRun
    from automl_transfer.transfer.plan import TransferPlan

log = logging.getLogger(__name__)

DEFAULT_SOURCE = "efficientnet-lite0"
OnProgress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and how much there is."""


@dataclass(frozen=True)
class Trained:
    """A strategy that was trained and shipped.

    Attributes:
        recipe: Of the model, as `best_strategy.json` says it.
        model: The model folder, for `load`.
    """

    recipe: Recipe
    model: Path


@dataclass(frozen=True)
class _Fitted:
    """A trained run, and what validation images say of it: before it saw them, where it was refitted."""

    run: TrainingRun
    best_epoch: int
    validation: Score
    calibration: Calibration | None
    seconds: float


class ModelMigration:
    """Migrates one source to one task, step by step: compare, build, train, test, predict.

    >>> migration = ModelMigration("efficientnet-lite0", epochs=9)  # doctest: +SKIP
    >>> migration.explore_data("photos/cats").imbalance  # doctest: +SKIP
    1.2
    >>> model = migration.generate_target_model(tune_mode="full", shrink=0.9)  # doctest: +SKIP
    >>> migration.fit().test().accuracy  # doctest: +SKIP
    0.984

    Args:
        source: The pretrained network.
        epochs: At whose ends the model is judged; the best one on the validation split counts. None, and no
            `steps`: 9 epochs that are long enough for the data.
        steps: Of the optimiser, in all, rounded up to whole epochs.
        seed: Of initial weights, of the order of images, and of what is drawn.
        refit: Train on training and validation images together in the end.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        data_root: Where relative dataset folders lie on this machine.
        cache_root: Where decoded images are kept; None for the user's cache folder.
        precision: Of forward and backward passes of what trains: `fp32`, or mixed with `bf16` or `fp16`.

    Attributes:
        exploration: What the data hold, from `explore_data`.
        profile: How well the source's layers separate the classes, cut by cut; None for a source that was
            never trained.
        strategy: The best solved head by the profile, until `generate_target_model` takes another.
        plan: What becomes of each layer group; `plan.describe()` is a table.
        history: A result for each epoch of `fit`.
    """

    def __init__(
        self,
        source: str = DEFAULT_SOURCE,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        refit: bool = False,
        device: str = "auto",
        data_root: Path | None = None,
        cache_root: Path | None = None,
        precision: Precision = "fp32",
    ) -> None:
        self.source = source
        self.exploration: Exploration | None = None
        self.profile: ProfileRecord | None = None
        self.strategy = Strategy(source=source)
        self.history: list[EpochResult] = []
        self._search: dict[str, Any] = {"max_epochs": epochs, "max_steps": steps, "seed": seed}
        self._search["precision"] = precision
        self._refit = refit
        self._device = device
        self._data_root, self._cache_root = data_root, cache_root
        self._spec: StudySpec | None = None
        self._task: LoadedTask | None = None
        self._backbones: dict[str, Backbone] = {}
        self._run: TrainingRun | None = None
        self._fitted: _Fitted | None = None
        self._tested: tuple[Score | None] | None = None
        self._predictor: Predictor | None = None

    def explore_data(
        self,
        dataset: str | PathLike[str] | TaskSpec | Frame,
        *,
        images: str | PathLike[str] | None = None,
        columns: Mapping[str, str] | None = None,
        **settings: object,
    ) -> Exploration:
        """Describe the target's images, and compare the source with them: the profile chooses a strategy.

        Nothing is trained; only training images are looked at to choose.

        Args:
            dataset: As for a search.
            images: As for a search.
            columns: As for a search.
            settings: Fields of `TaskSpec`: `resolution`, `channels`, `group_from`, ...

        Raises:
            ConfigurationError: A setting is unknown or its value cannot be.
            DataError: There is no such dataset, or it cannot be read.
            SourceError: The source is not on this machine.
        """
        from automl_transfer.training.activation_cache import disk_cache
        from automl_transfer.training.profile import Profiler, strategy_of

        ensure_home()
        with stated(dataset, images, columns) as fields:
            spec = validate(TaskSpec, {**fields, **settings}, "the task")
            found, loaded = explore_task(spec, data_root=self._data_root, cache_root=self._cache_root)
        self.begin(spec, loaded if not found.findings else None)
        self.exploration, self.profile, self.strategy = found, None, Strategy(source=self.source)
        if self._task is not None and is_pretrained({"source": self.source}):
            self.profile = Profiler(
                self._backbone(self.source),
                self.source,
                self._task,
                device=self._on(),
                seed=self._spec.search.seed if self._spec is not None else 0,
                cache=disk_cache(self._cache_root),
            ).whole()
            self.strategy = strategy_of(self.profile)
        return found

    def begin(self, spec: TaskSpec, task: LoadedTask | None) -> None:
        """Take data that are loaded already (None where a search would refuse them), instead of others."""
        self._spec = by_hand(spec.model_dump(), {}, Strategy(), **self._search).spec
        self._task, self._backbones = task, {}
        self._run, self._fitted, self._tested, self._predictor = None, None, None, None

    def generate_target_model(self, strategy: AnyStrategy | None = None, **dimensions: Any) -> TargetModel:
        """Build the network for the target from the source's structure, before any training by gradient.

        It is cut, weights are transferred and modified, the rest is initialised, and a new head for the
        target's classes is set on top, solved where the strategy says so. `plan.describe()` shows it.

        Args:
            strategy: By default that of `explore_data`; a `Strategy`, its fields, a recipe, or a file.
            dimensions: Of the strategy, instead of what it has: `tune_mode="full"`, `shrink=0.5`, ...
                One that has no effect is warned of.

        Raises:
            ConfigurationError: No data were explored, a dimension is unknown or its value cannot be, or the
                source cannot take it.
            DataError: A search would refuse the data (`exploration.findings`).
            SourceError: The source is not on this machine, or too deep for the images.
        """
        task = self._loaded()
        assert self._spec is not None
        start = self.strategy if strategy is None else strategy_of_any(strategy)
        hand = by_hand(self._spec.task.model_dump(), dimensions, start, **self._search)
        require_methods(hand.strategy)
        require_taken(hand.strategy)
        warn(hand)
        Space((), hand.strategy.model_dump()).warn_of(task.task)
        if hand.strategy.active().get("detail") and not task.has_detail(hand.strategy.resolution_scale):
            side = scaled(task.task.resolution, hand.strategy.resolution_scale)
            log.warning(
                "detail has no effect: half of the images of %s must have about %d pixels on their shorter "
                "sides, and have fewer; they are stretched", task.task.name, side,
            )  # fmt: skip
        self._run = self._made(hand.strategy)
        self.strategy = hand.strategy
        self._fitted, self._tested, self._predictor = None, None, None
        self.history = []
        return self._run.model

    @property
    def plan(self) -> TransferPlan:
        """What becomes of each layer group.

        Raises:
            ConfigurationError: There is no model yet.
        """
        return self._last().plan

    @property
    def horizon(self) -> Horizon:
        """How long `fit` trains."""
        assert self._spec is not None
        return self._spec.search.horizon(self._loaded().task.splits.train)

    def fit(
        self,
        *,
        on_epoch: Callable[[EpochResult], None] = lambda result: None,
        on_progress: OnProgress = lambda what, done, total: None,
    ) -> Self:
        """Train the model, and keep its best epoch; one is generated first where there is none.

        Called again after an interrupt or an error, it goes on from the last finished epoch.

        Args:
            on_epoch: Told about each epoch.
            on_progress: Told about each epoch of a refit.

        Raises:
            ConfigurationError: No data were explored.
            NotANumberError, OutOfMemoryError: It cannot be trained so.
        """
        if self._run is None or self._fitted is not None:
            self.generate_target_model()
        run = self._last()

        def ended(result: EpochResult) -> None:
            self.history.append(result)
            on_epoch(result)

        train_to_the_end(run, on_epoch=ended)
        seconds = math.fsum(each.seconds for each in self.history)
        assert run.best is not None
        validation, calibration, best = score_of(run, "validation"), calibration_of(run), run.best.epoch
        if self._refit:
            run = self._made(run.plan.strategy, refit=True)
            for epoch in range(best + 1):
                run.train_to(epoch)
                on_progress("training + validation images", epoch, best)
            run.load_shown()
            run.model.eval()
        # Not before: an interrupted refit begins anew, from what was judged.
        self._run, self._fitted = run, _Fitted(run, best, validation, calibration, seconds)
        return self

    def test(self) -> Score | None:
        """The trained model on the test split, which is looked at once; None where the task has none.

        Raises:
            ConfigurationError: Nothing was trained.
        """
        fitted = self._trained()
        if self._tested is None:
            self._tested = (score_on_test(fitted.run),)
        return self._tested[0]

    def predict(self, inputs: Inputs, *, top: int = 5, threshold: float = 0.0) -> Iterator[Prediction]:
        """Label new images: files, folders or arrays, as `Predictor.predict` does.

        Raises:
            ConfigurationError: Nothing was trained.
        """
        fitted = self._trained()
        if self._predictor is None:
            self._predictor = predictor_of(
                fitted.run, self._backbone(fitted.run.plan.strategy.source), fitted.calibration
            )
        return self._predictor.predict(inputs, top=top, threshold=threshold)

    def save(self, output: str | PathLike[str]) -> Trained:
        """Write `best_strategy.json` and `model/` to a new folder, which appears whole.

        Raises:
            ConfigurationError: Nothing was trained.
            OutputError: The folder exists, or cannot be written.
        """
        fitted, folder = self._trained(), path_of(output)
        check_new_folder(folder)
        assert self._spec is not None
        training = training_of(
            fitted.run,
            self.horizon,
            self._spec.search.seed,
            best_epoch=fitted.best_epoch,
            refit=self._refit,
        )
        metrics = RecipeMetrics(validation=fitted.validation, test=self.test())
        recipe = recipe_alone(fitted.run, self._spec.task, training, metrics, fitted.seconds)
        model = write_alone(
            folder,
            fitted.run,
            self._backbone(fitted.run.plan.strategy.source),
            recipe,
            fitted.calibration,
        )
        return Trained(recipe, model)

    def _loaded(self) -> LoadedTask:
        if self._task is not None:
            return self._task
        if self.exploration is not None:
            raise DataError("\n".join(self.exploration.findings))
        raise ConfigurationError("data must be explored first, got none: call explore_data(DATASET)")

    def _last(self) -> TrainingRun:
        if self._run is None:
            raise ConfigurationError("a model must be generated first: call generate_target_model()")
        return self._run

    def _trained(self) -> _Fitted:
        if self._fitted is None:
            raise ConfigurationError("a model must be trained first: call fit()")
        return self._fitted

    def _on(self) -> torch.device:
        from automl_transfer.training.device import resolve_device

        return resolve_device(self._device)

    def _backbone(self, source: str) -> Backbone:
        """The network of a source, kept: plans work on copies."""
        from automl_transfer.models.registry import get_source

        if source not in self._backbones:
            self._backbones[source] = get_source(source).load(self._loaded().task.channels)
        return self._backbones[source]

    def _made(self, strategy: Strategy, *, refit: bool = False) -> TrainingRun:
        from automl_transfer.training.activation_cache import disk_cache

        assert self._spec is not None
        return make_run(
            strategy,
            self._loaded(),
            self._backbone(strategy.source),
            horizon=self.horizon,
            seed=self._spec.search.seed,
            device=self._on(),
            refit=refit,
            cache=disk_cache(self._cache_root),
            precision=self._spec.search.precision,
        )


def warn(hand: ByHand) -> None:
    """Say which dimensions were named in vain."""
    for line in hand.idle:
        log.warning(line)
