"""A search's incumbents, judged on the test split by the harness afterwards."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from automl_transfer.api.training import score_of
from automl_transfer.domain.records import TrialRecord
from automl_transfer.reporting.candidates import one_per_strategy
from automl_transfer.reporting.ranking import rank
from automl_transfer.search.checkpoints import fetch, weights_are
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.files import model_key
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import resolve_storage
from automl_transfer.store.values import StudyHandle
from automl_transfer.training.making import make_run, train_to_the_end


def incumbents(records: list[TrialRecord], study: StudyHandle) -> list[TrialRecord]:
    """Complete trials that were the best so far when they ended, as the ranking's timeline has them."""
    by_root = {record.root: record for record in one_per_strategy(records)}
    return [by_root[point.root_trial] for point in rank(records, study.task, study.name).timeline]


def judged(
    url: str, study: str, folder: Path, began: float, *, again: bool
) -> tuple[list[dict[str, Any]], list[str], int]:
    """The incumbents' seconds since `began` and accuracies; those that were not judged; trials in all.

    Weights that the store kept are loaded, solved heads are solved again. Others are trained `again`, which
    gives the same weights, or are left out and named. `folder` holds the search's cache.
    """
    curve, skipped = [], []
    with Store.open(resolve_storage(url, None, folder)) as store:
        handle = store.study(study)
        records = list(Trials(store).records(handle))
        bench = Workbench.open(handle, device="cpu", cache_root=folder / "cache")
        for record in incumbents(records, handle):
            assert record.strategy is not None
            assert record.finished is not None
            epoch = record.best_epoch("accuracy")
            assert epoch is not None
            weights = _kept(handle, record)
            if weights is None and record.strategy.tune_mode != "closed_form" and not again:
                skipped.append(f"trial {record.number}: {record.strategy.describe()}")
                continue
            run = make_run(
                record.strategy, bench.task, bench.backbone(record.strategy.source),
                horizon=handle.spec.search.horizon(handle.task.splits.train), seed=handle.spec.search.seed,
                device=torch.device("cpu"), known=bench.banks, weights=weights,
            )  # fmt: skip
            if weights is None:
                train_to_the_end(run)
            run.model.eval()
            curve.append({
                "seconds": record.finished.timestamp() - began, "validation": epoch.accuracy,
                "test": score_of(run, "test").accuracy, "strategy": record.strategy.describe(),
            })  # fmt: skip
    return curve, skipped, len(records)


def _kept(handle: StudyHandle, record: TrialRecord) -> dict[str, torch.Tensor] | None:
    """What the trial left among the study's files."""
    from safetensors.torch import load_file

    is_right = weights_are(record.outcome.weights_sha256 if record.outcome else None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        if not fetch(handle, model_key(record.root, record.attempt), file, is_right):
            return None
        return load_file(str(file))
