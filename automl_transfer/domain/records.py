"""What is recorded about trials: epochs, trials, and reasons to stop with what happens after each."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import ConfigDict, Field

from automl_transfer.domain.measured import Measured, Metric
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.strict_json import Frozen, unsaid
from automl_transfer.errors import (
    NotANumberError,
    OutOfMemoryError,
    OutputError,
    TrialDataError,
    UserError,
)

MOST_BITS = 4096
"""Validation images up to which each epoch says which are right: with more, pairs add little."""


BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class EpochResult(Measured):
    """One epoch of one trial. Losses are mean cross-entropies in nats; scores lie in [0, 1].

    Epoch 0 is the model before any gradient step (closed-form strategies end there).

    Attributes:
        calibrated_loss: The validation loss after one temperature was fitted on the same logits, as it is
            before a model ships. None in records of earlier versions, and then not written.
        right: Which validation images are classified correctly, one bit an image (`evidence.pack_bits`), so
            that strategies can be compared image by image. None where there are more than `MOST_BITS`, or an
            earlier version trained, and then not written.
    """

    epoch: int = Field(ge=0)
    train_loss: float | None
    validation_loss: float
    calibrated_loss: float | None = Field(default=None, exclude_if=unsaid)
    right: str | None = Field(default=None, pattern=BASE64, exclude_if=unsaid)
    learning_rate: float = Field(ge=0.0)
    seconds: float = Field(ge=0.0)


def order_among(
    compared: Iterable[EpochResult], metric: Metric
) -> Callable[[EpochResult], tuple[float, float]]:
    """By what epochs are compared, of one trial or of several; higher is better.

    By the metric; equal ones by the validation loss after calibration. Without calibration the loss says how
    sure a model is as well as what it knows: label smoothing, mixup and regularised heads make it larger,
    and a temperature takes that back before a model ships (Guo et al. 2017, ICML, section 4.2). One scalar is
    fitted for each on the same images, so all gain as much by the fit: about 1 / (2n) nats. Where one of them
    has none, because an earlier version trained it, all are compared by the plain loss.
    """
    calibrated = all(epoch.calibrated_loss is not None for epoch in compared)

    def order(epoch: EpochResult) -> tuple[float, float]:
        loss = epoch.calibrated_loss if calibrated else None
        # As many right answers are the same score, however it was added up.
        return round(epoch.score(metric), 12), -(epoch.validation_loss if loss is None else loss)

    return order


def best_of(epochs: Sequence[EpochResult], metric: Metric) -> EpochResult:
    """The best of some epochs (at least one) by `order_among`; of equal ones the first."""
    return max(epochs, key=order_among(epochs, metric))


class StopKind(StrEnum):
    """Why a trial stopped. Each kind has its own policy for what happens next."""

    COMPLETED = "completed"
    PRUNED = "pruned"
    RELEASED = "released"
    PAUSED = "paused"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    NOT_A_NUMBER = "not_a_number"
    DATA = "data"
    STORE = "store"
    BUG = "bug"


class StopReason(Frozen):
    """A kind and a sentence that a person can read in the report."""

    kind: StopKind
    detail: str = Field(default="", max_length=2000)

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}" if self.detail else self.kind.value


class TrialState(StrEnum):
    """The states of Optuna, by name, so that nothing below the store needs Optuna."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"

    @property
    def finished(self) -> bool:
        """Whether the trial will not change any more."""
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class TrialOutcome(Frozen):
    """Costs and sizes measured while a trial ran, kept beside its value.

    Attributes:
        robust_accuracy: On the validation images under the study's attack; None where it has none.
        conditions: What the rounding of its training depended on: threads, realised batch, device, ...
    """

    parameters: int = Field(default=0, ge=0)
    trained_parameters: int = Field(default=0, ge=0)
    predict_ms_per_image: float = Field(default=0.0, ge=0.0)
    train_seconds: float = Field(default=0.0, ge=0.0)
    best_epoch: int | None = None
    identical: bool = True
    weights_sha256: str | None = None
    robust_accuracy: float | None = Field(default=None, ge=0.0, le=1.0, exclude_if=unsaid)
    conditions: dict[str, str | int | bool] = Field(default_factory=dict)


class UnreadableRow(Frozen):
    """A row of the store that this program cannot read: it is left out, and named.

    Attributes:
        what: Which one, for people: "trial 7".
        reason: What is wrong with it.
        root: Number of the root trial that it belongs to, where that is known.
        newer: A later version of this program can read it.
    """

    what: str
    reason: str
    root: int | None = None
    newer: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


class TrialRecord(Frozen):
    """One trial as the store knows it. One that is paused at a rung is PRUNED here, for a reason of its kind.

    Attributes:
        trial_id: The store's key. `number` counts within the study.
        root: Number of the first trial of this strategy; its own number for a root trial.
        attempt: 0 for a root trial, one more for each continuation after a crash.
        strategy: None for trials that something else than automl-transfer wrote.
        restarts: How often it was started over because its checkpoint was gone.
        epochs: The curve, in order, inherited epochs included.
    """

    model_config = ConfigDict(allow_inf_nan=True)  # whoever wrote the value

    trial_id: int
    number: int
    root: int
    attempt: int = 0
    restarts: int = 0
    state: TrialState
    value: float | None = None
    strategy: Strategy | None = None
    stop: StopReason | None = None
    outcome: TrialOutcome | None = None
    epochs: tuple[EpochResult, ...] = ()
    started: datetime | None = None
    finished: datetime | None = None
    worker: str | None = None

    def best_epoch(self, metric: Metric) -> EpochResult | None:
        """The best epoch by the metric, ties broken as `order_among` says, then by being earlier."""
        return best_of(self.epochs, metric) if self.epochs else None

    @property
    def can_be_ranked(self) -> bool:
        """Whether it is complete and says what it did: its strategy and its curve."""
        return self.state is TrialState.COMPLETE and self.strategy is not None and bool(self.epochs)

    @property
    def is_paused(self) -> bool:
        """Whether it waits at a rung with its checkpoint, and may go on."""
        # Its last reason stays with a trial that went on, so that alone does not tell.
        return self.state is TrialState.PRUNED and self.stop is not None and self.stop.kind is StopKind.PAUSED

    @property
    def is_open(self) -> bool:
        """Whether it may change yet: it waits, runs, or is paused."""
        return self.is_paused or not self.state.finished

    @property
    def seconds(self) -> float:
        """Seconds of training and validation over all epochs."""
        return math.fsum(epoch.seconds for epoch in self.epochs)

    @property
    def train_seconds(self) -> float:
        """Seconds that training took, as its outcome says; else those of its epochs."""
        return self.outcome.train_seconds if self.outcome is not None else self.seconds


RETRIED = frozenset({StopKind.CRASHED, StopKind.STORE, StopKind.DATA})
"""Kinds that say nothing about the strategy: the trial is tried again while attempts remain.

Out of memory is not among them, because training has already tried every smaller batch; nor are
NaN and bugs, because training is deterministic and would end there again.
"""

_DETAIL = 1800


def classify(error: BaseException) -> StopReason:
    """The reason of a trial that ended in an exception, with the lines a person needs."""
    if isinstance(error, NotANumberError):
        return StopReason(kind=StopKind.NOT_A_NUMBER, detail=str(error)[:_DETAIL])
    if isinstance(error, OutOfMemoryError | MemoryError):
        return StopReason(kind=StopKind.OUT_OF_MEMORY, detail=str(error)[:_DETAIL])
    if isinstance(error, TrialDataError | OutputError | OSError):
        return StopReason(kind=StopKind.DATA, detail=f"{type(error).__name__}: {error}"[:_DETAIL])
    if isinstance(error, UserError):
        return StopReason(kind=StopKind.BUG, detail=str(error)[:_DETAIL])
    lines = "".join(traceback.format_exception(error)).strip()
    return StopReason(kind=StopKind.BUG, detail=f"{type(error).__name__}: {error}\n{lines}"[-_DETAIL:])
