"""Small builders for tests of the store, importable by the processes that tests start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import forge
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialOutcome
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import SplitSizes, Task
from automl_transfer.store import tables as t
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import CheckpointRef, StudyHandle, TrialDraft

SPACE = {
    "learning_rate": FloatDistribution(1e-5, 1.0, log=True),
    "freeze_depth": IntDistribution(0, 8),
    "optimizer": CategoricalDistribution(["sgd", "adamw"]),
}
TASK = Task(
    name="digits",
    fingerprint="ab" * 32,
    classes=("0", "1"),
    splits=SplitSizes(train=60, validation=20, test=20),
    channels=1,
    resolution=32,
    channel_mean=(0.5,),
    channel_std=(0.5,),
)
DONE = StopReason(kind=StopKind.COMPLETED)
CRASH = StopReason(kind=StopKind.BUG, detail="ZeroDivisionError: division by zero")


def spec(name: str = "s", **search: Any) -> StudySpec:
    return StudySpec(
        name=name,
        task=TaskSpec(dataset="digits"),
        search=SearchSpec(**search),
        space={"learning_rate": "search", "freeze_depth": "search", "optimizer": "search"},
    )


def open_study(url: str, name: str = "s", **search: Any) -> tuple[Store, StudyHandle]:
    store = Store.open(StoreURL.parse(url), wait_seconds=20)
    study = store.create_study(spec(name, **search), TASK, artifact_url="artifacts", sources={"a": "f" * 64})
    return store, study


def draft(number: int = 0, label: str = "") -> TrialDraft:
    params = {"learning_rate": 1e-3 * (1 + number % 97), "freeze_depth": number % 9, "optimizer": "adamw"}
    return TrialDraft(Strategy(**params), params, SPACE, label)


def epoch(number: int, accuracy: float = 0.5) -> EpochResult:
    return EpochResult(
        epoch=number,
        train_loss=1.0,
        validation_loss=0.9,
        accuracy=accuracy,
        balanced_accuracy=accuracy,
        macro_f1=accuracy,
        learning_rate=1e-3,
        seconds=0.1,
    )


def checkpoint(number: int) -> CheckpointRef:
    return CheckpointRef(number, f"root/epoch {number}", "c" * 64, 1234)


OUTCOME = TrialOutcome(parameters=10, trained_parameters=5, train_seconds=1.5, best_epoch=2)


def age(store: Store, seconds: float) -> None:
    """Let time pass for every lease, suspicion and sighting, without waiting."""
    with store.engine.begin() as connection:
        for column in (t.at_leases.c.beat, t.at_leases.c.suspected, t.at_sightings.c.first_seen):
            connection.execute(sa.update(column.table).values({column.name: column - seconds}))


def start(function: str, *arguments: object, killed: bool = False, **options: Any) -> subprocess.Popen[str]:
    """Run a function of `store_processes.py` in a real process of its own.

    It comes from the forge, unless the test is to kill it: then its number is needed.
    """
    here = Path(__file__).parent
    return subprocess.Popen(
        [
            sys.executable if killed else forge.command(),
            str(here / "store_processes.py"),
            function,
            *map(str, arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here.parents[1]}:{here.parent}"},
        **options,
    )


def outputs(processes: list[subprocess.Popen[str]], timeout: float = 120) -> list[str]:
    """Standard output of each process; fails with its errors if one did not end well."""
    found = []
    for process in processes:
        out, err = process.communicate(timeout=timeout)
        assert process.returncode == 0, err[-3000:]
        found.append(out)
    return found
