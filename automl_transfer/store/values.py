"""What goes into the store and comes out of it: drafts, claims, checkpoints and live rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution

from automl_transfer.domain.records import EpochResult, StopReason
from automl_transfer.domain.spec import StudySpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import Task

PAUSED = "PAUSED"
"""How trials at a rung are counted, beside those of Optuna's states: for Optuna they are WAITING."""


@dataclass(frozen=True)
class StudyHandle:
    """A study as it is in the store.

    Attributes:
        name: What people call it, at the time it was looked up: it may be renamed.
        artifact_url: Folder or object storage below which its files lie (`store.files.study_files`).
        sources: Name of each source of weights to the sha256 of its file; None where there is none.
        identity: 32 hex digits that are this study's for ever, and no other's in any store.
    """

    study_id: int
    name: str
    spec: StudySpec
    task: Task
    artifact_url: str
    sources: Mapping[str, str | None]
    identity: str


@dataclass(frozen=True)
class StudyEntry:
    """One line of `study list`.

    Attributes:
        ours: False for a study that plain Optuna made.
        trials: Number of trials by state name, `PAUSED` among them.
        created: Seconds since 1970 on the database's clock; None for plain Optuna's studies.
        identity: As in `StudyHandle`; None for plain Optuna's studies.
        maximised: Whether higher values are better; None where there are several values.
    """

    study_id: int
    name: str
    ours: bool
    trials: Mapping[str, int]
    best_value: float | None
    task: str | None
    created: float | None
    identity: str | None
    maximised: bool | None


@dataclass(frozen=True)
class TrialDraft:
    """A trial that does not exist yet.

    Attributes:
        params: Optuna's parameters as a person reads them (external representation).
        distributions: One for each parameter.
        label: A word for people, such as "profile" or "default".
    """

    strategy: Strategy
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    label: str = ""


@dataclass(frozen=True)
class CheckpointRef:
    """Where the state after an epoch lies."""

    epoch: int
    uri: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Claim:
    """The right to run one trial, until the lease behind `token` is lost.

    Attributes:
        root: Number of the first trial of this strategy.
        attempt: 0 for a root trial, one more for each continuation after a crash.
        epochs: The inherited curve; it ends at the checkpoint.
    """

    study_id: int
    trial_id: int
    number: int
    root: int
    attempt: int
    token: str
    strategy: Strategy
    epochs: tuple[EpochResult, ...] = ()
    checkpoint: CheckpointRef | None = None
    label: str = ""


@dataclass(frozen=True)
class Mark:
    """What a strategy had when it came to a rung.

    Attributes:
        root: Number of the strategy's first trial.
        rung: The epoch.
        bracket: Of those that are compared with each other.
        value: The best value so far; the higher, the better.
        loss: Validation loss there, which tells equal values apart.
        seconds: That it had trained by then.
        paused: It waits here with its checkpoint. Else it went on, or was ended.
    """

    root: int
    rung: int
    bracket: str
    value: float
    loss: float
    seconds: float
    paused: bool = True


@dataclass(frozen=True)
class Reaped:
    """A trial whose worker was lost, and the child that continues it (None: attempts are used up)."""

    trial_id: int
    number: int
    root: int
    attempt: int
    worker: str | None
    stop: StopReason
    child: int | None


@dataclass(frozen=True)
class Counts:
    """How far a study is.

    Attributes:
        roots: Strategies begun by automl-transfer; the budget counts these.
        waiting: For any worker to take; `paused` ones are not among them.
        paused: At a rung, with a checkpoint: they go on where they are among the best there.
        open_roots: Roots with a trial that is waiting or running: what keeps a study unfinished.
        given_up: Roots of which every trial failed and none is left to run.
    """

    waiting: int
    running: int
    complete: int
    pruned: int
    failed: int
    roots: int
    open_roots: int
    given_up: int
    paused: int = 0


@dataclass(frozen=True)
class WorkerRow:
    """A trial that a worker holds now; ages are seconds on the database's clock."""

    worker: str
    trial_id: int
    number: int
    root: int
    attempt: int
    epoch: int | None
    beat_age: float
    held: float
