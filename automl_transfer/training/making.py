"""A strategy made ready to train, and trained to its end: by trials, confirmations, `apply` and `verify`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.records import EpochResult
from automl_transfer.domain.spec import Precision
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from automl_transfer.models.heads import TargetModel
    from automl_transfer.models.network import Backbone
    from automl_transfer.training.activation_cache import ActivationCache
    from automl_transfer.training.crew import Crew
    from automl_transfer.training.run import TrainingRun
    from automl_transfer.transfer.build import KnownFeatures
    from automl_transfer.transfer.pixels import Normaliser
    from automl_transfer.transfer.together import Ensemble


class Feeds(Protocol):
    """How pixels become a model's input: what a `TransferPlan` says of it."""

    @property
    def mean(self) -> tuple[float, ...] | None:
        """One value a channel, of pixels in [0, 1]; None where each image has its own."""

    @property
    def std(self) -> tuple[float, ...] | None:
        """As `mean`."""

    def normaliser(self, device: torch.device | str) -> Normaliser:
        """Turns stored pixels into the input."""


@dataclasses.dataclass(frozen=True)
class Constants:
    """The same of a model without a plan."""

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def normaliser(self, device: torch.device | str) -> Normaliser:
        """Turns stored pixels into the input."""
        from automl_transfer.transfer.pixels import Normaliser

        return Normaliser(self.mean, self.std, device)


class Judged(Protocol):
    """A model that can be judged on its task, and shipped: of a `TrainingRun`, or made of several."""

    @property
    def task(self) -> LoadedTask:
        """Its images."""

    @property
    def model(self) -> TargetModel | Ensemble:
        """In evaluation mode."""

    @property
    def device(self) -> torch.device:
        """Where it is."""

    @property
    def plan(self) -> Feeds:
        """How it is fed."""


@dataclasses.dataclass(frozen=True)
class Composed:
    """A model that no run has trained as it is."""

    task: LoadedTask
    model: TargetModel | Ensemble
    device: torch.device
    plan: Feeds


def make_run(
    strategy: Strategy,
    task: LoadedTask,
    backbone: Backbone,
    *,
    horizon: Horizon,
    seed: int,
    device: torch.device,
    refit: bool = False,
    cache: ActivationCache | None = None,
    known: KnownFeatures | None = None,
    views_seed: int | None = None,
    weights: Mapping[str, Tensor] | None = None,
    crew: Crew | None = None,
    precision: Precision = "fp32",
) -> TrainingRun:
    """A strategy ready to train; with `refit`, on the validation images as well.

    `cache` keeps activations of what is frozen, and what preparations made; `known` may know features of
    the training images; `views_seed` draws augmented views, where it is not `seed`; `weights` are what it was
    once trained; `crew` trains it together, in a `precision`. The run's task is in the detail in which the
    strategy reads it.

    Raises:
        OutputError: Larger images cannot be kept.
        Over: The first member of the crew could not prepare the model.
    """
    from automl_transfer.training.crew import FirstPrepares
    from automl_transfer.training.run import TrainingRun
    from automl_transfer.transfer.build import build_plan
    from automl_transfer.transfer.prepare.base import KeepsNothing

    task = task.read_by(strategy)
    if refit:
        both = task.to_train(np.sort(np.concatenate([task.indices["train"], task.indices["validation"]])))
        task = dataclasses.replace(task, indices={**task.indices, "train": both})
    plan = build_plan(
        strategy,
        backbone,
        task,
        seed=seed,
        device=device,
        known=known,
        views_seed=views_seed,
        weights=weights,
        keep=cache if crew is None else FirstPrepares(crew, cache or KeepsNothing()),
    )
    return TrainingRun(
        plan,
        task,
        max_epochs=horizon.epochs,
        passes=horizon.passes,
        steps=horizon.steps,
        seed=seed,
        device=device,
        cache=cache,
        crew=crew,
        precision=precision,
    )


def split_logits(run: Judged, split: Split) -> np.ndarray:
    """(n, classes) float32 logits of the model as it is now, of the images of a split."""
    from automl_transfer.training.evaluate import predict_logits

    rows, normalise = run.task.indices[split], run.plan.normaliser(run.device)
    return predict_logits(run.model, run.task.images, rows, normalise, run.device)


def train_to_the_end(
    run: TrainingRun,
    *,
    stop_after: int | None = None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
) -> float:
    """Train a run, and leave the weights of its best epoch; with `stop_after`, of that epoch.

    Returns:
        The seconds that its epochs took.
    """
    seconds: list[float] = []
    for result in run.epochs():
        seconds.append(result.seconds)
        on_epoch(result)
        if result.epoch == stop_after:
            break
    if stop_after is None:
        run.load_best()
    else:
        run.load_shown()
    run.model.eval()
    return math.fsum(seconds)
