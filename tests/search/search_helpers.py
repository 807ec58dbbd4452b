"""A real study on a real SQLite store, with the real digits and the packaged weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.records import EpochResult, StopKind, StopReason
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.search.checkpoints import Checkpoints
from automl_transfer.search.objective import Objective
from automl_transfer.search.promoting import Promotion
from automl_transfer.search.samplers import make_pruner
from automl_transfer.search.workbench import Workbench, source_digests
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import Claim, StudyHandle

DIGITS = TaskSpec(dataset="digits?per_class=20")
DONE = StopReason(kind=StopKind.COMPLETED)
NARROW = {"transfer_depth": "search", "tune_mode": ("head", "suffix", "full"), "freeze_depth": "search",
          "rest_init": ("he_normal", "zero"), "learning_rate": "search", "normalise": "search"}  # fmt: skip


def digits() -> LoadedTask:
    return load_task(DIGITS)


def open_study(
    folder: Path, task: LoadedTask, space: dict[str, Any] | None = None, **search: Any
) -> tuple[Store, StudyHandle]:
    store = Store.open(StoreURL.parse(str(folder / "study.db")))
    spec = StudySpec(
        name="s", task=DIGITS, search=SearchSpec(**search), space=NARROW if space is None else space
    )
    artifacts = (folder / "artifacts").as_posix()
    return store, store.create_study(spec, task.task, artifact_url=artifacts, sources=source_digests(spec))


def epoch(number: int, accuracy: float) -> EpochResult:
    return EpochResult(
        epoch=number, train_loss=1.0, validation_loss=1.0, accuracy=accuracy, balanced_accuracy=accuracy,
        macro_f1=accuracy, learning_rate=1e-3, seconds=0.1,
    )  # fmt: skip


def objective(
    store: Store,
    study: StudyHandle,
    task: LoadedTask,
    stop: Callable[[], str | None] = lambda: None,
    cache: Path | None = None,
) -> Objective:
    trials = Trials(store)

    def should_stop(*, during_epoch: bool = False, answer_due: bool = False) -> str | None:
        return stop()

    return Objective(
        Workbench.open(study, device="cpu", task=task, cache_root=cache),
        trials,
        SamplerHistory(store, study),
        make_pruner(study.spec.search),
        Promotion(store, study),
        Checkpoints(study, trials),
        should_stop,
        _nothing,
    )


def _nothing(claim: Claim, result: EpochResult) -> None: ...


def enqueue_first_in(folder: str) -> None:
    """What a process that starts at the same time does."""
    from automl_transfer.search.first import FirstAnswers

    torch.set_num_threads(1)
    with Store.open(StoreURL.parse(str(Path(folder) / "study.db"))) as store:
        study = store.study("s")
        first = FirstAnswers(Workbench.open(study, device="cpu"), Trials(store))
        first.quick()
        first.rest()


if __name__ == "__main__":
    import sys

    enqueue_first_in(sys.argv[1])
