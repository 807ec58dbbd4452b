"""Real trial records, written by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

from automl_transfer.domain.records import (
    EpochResult,
    StopKind,
    StopReason,
    TrialOutcome,
    TrialRecord,
    TrialState,
)
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import SplitSizes, Task

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
CRASH = StopReason(kind=StopKind.CRASHED, detail="the worker died")
HOSTILE = "[bold red]<script>\x1b[2J\u202egnp.\n[/]" + "x" * 400


def make_task(**changes: Any) -> Task:
    values: dict[str, Any] = {
        "name": "digits",
        "fingerprint": "0" * 64,
        "classes": ("0", "1"),
        "splits": SplitSizes(train=600, validation=200, test=200),
        "channels": 1,
        "resolution": 32,
        "channel_mean": (0.3,),
        "channel_std": (0.2,),
    }
    return Task(**(values | changes))


def epoch(number: int, accuracy: float, loss: float = 0.5, **changes: Any) -> EpochResult:
    values: dict[str, Any] = {
        "epoch": number,
        "train_loss": 0.4,
        "validation_loss": loss,
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
        "macro_f1": accuracy,
        "learning_rate": 0.001,
        "seconds": 2.0,
    }
    return EpochResult(**(values | changes))


def trial(
    number: int,
    *accuracies: float,
    loss: float = 0.5,
    state: TrialState = TrialState.COMPLETE,
    root: int | None = None,
    attempt: int = 0,
    strategy: Strategy | None = None,
    ms: float = 1.0,
    seconds: float = 10.0,
    minutes: float | None = None,
    stop: StopReason | None = None,
    **changes: Any,
) -> TrialRecord:
    """A trial whose strategy differs from every other's by its learning rate, unless it is given."""
    start = BEGIN + timedelta(minutes=number if minutes is None else minutes)
    values: dict[str, Any] = {
        "trial_id": number + 100,
        "number": number,
        "root": number if root is None else root,
        "attempt": attempt,
        "state": state,
        "value": accuracies[-1] if accuracies and state is TrialState.COMPLETE else None,
        "strategy": strategy or Strategy(learning_rate=1e-3 * (1 + number)),
        "stop": stop,
        "outcome": TrialOutcome(
            parameters=3_400_000, trained_parameters=1000, predict_ms_per_image=ms, train_seconds=seconds
        ),
        "epochs": tuple(epoch(i, accuracy, loss) for i, accuracy in enumerate(accuracies, 1)),
        "started": start,
        "finished": start + timedelta(seconds=30) if state.finished else None,
    }
    return TrialRecord(**(values | changes))
