"""Trainings beside the search: the best strategies confirmed, and pruned trials run to their end."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from automl_transfer.api.training import make_run, train_to_the_end
from automl_transfer.data.folds import fresh_split, pool_of
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.evidence import ExtraRun, pack_bits
from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.errors import TrialError
from automl_transfer.reporting.racing import next_round
from automl_transfer.reporting.ranking import one_per_strategy, rank, ranked_epoch
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials

if TYPE_CHECKING:
    from automl_transfer.training.pool_features import PoolFeatures

LEAST_SECONDS = 30.0
"""Confirmation may take this long, however short the search was."""

OnRun = Callable[[ExtraRun], None]


def confirm_best(
    store: Store,
    bench: Workbench,
    *,
    strategies: int,
    max_runs: int,
    bounded: bool = False,
    on_run: OnRun = lambda run: None,
) -> list[ExtraRun]:
    """Train the best strategies of a study again, and keep every run in the store.

    Candidates are the best by validation score. Run r has a fresh seed and a fresh split of training +
    validation data, the same ones for every candidate (augmented views of an image are those of the
    study), and trains as many epochs as the candidate's trial kept: no epoch is picked by what the run is
    judged on. Runs are spent where they decide (`reporting.racing`). The test split is not looked at.

    Args:
        store: Where the study is.
        bench: Its images and networks.
        strategies: How many candidates.
        max_runs: At most so many runs of each.
        bounded: After two runs of each, train others than the leader only as long as all runs together take
            no longer than half the time of the trials, or `LEAST_SECONDS`.
        on_run: Told about each finished run.

    Returns:
        All confirmation runs of the study, earlier ones included.

    Raises:
        Aborted: That was asked for; finished runs are in the store, and the same call goes on after them.
    """
    from automl_transfer.training.pool_features import PoolFeatures

    handle, evidence = bench.handle, Evidence(store)
    metric = handle.task.metric
    records = Trials(store).records(handle)
    by_root = {record.root: record for record in one_per_strategy(records)}
    roots = [row.root_trial for row in rank(records, handle.task, handle.name).rows[:strategies]]
    searched = sum(record.outcome.train_seconds for record in records if record.outcome is not None)
    most = max(searched / 2, LEAST_SECONDS) if bounded else math.inf
    pool = PoolFeatures(bench.task, bench.activations)
    while True:
        runs = evidence.runs(handle, "confirm")
        wanted = next_round(roots, runs, max_runs, metric, most_seconds=most)
        if not wanted:
            return runs
        for root, number in wanted:
            record = by_root[root]
            try:
                run = _confirm(bench, pool, record, number)
            except TrialError:  # it trained once and does not now: it cannot be confirmed
                roots.remove(root)
                continue
            evidence.add_run(handle, run)
            on_run(run)


def audit_pruned(
    store: Store,
    bench: Workbench,
    *,
    trials: int,
    on_run: OnRun = lambda run: None,
) -> list[ExtraRun]:
    """Run pruned trials, chosen at random, to the end they were denied, and keep what they reached.

    The choice depends on the study's seed and the trials' numbers alone: a larger audit later contains
    the smaller one. Seeds, splits and schedule are the search's own.

    Returns:
        All audits of the study.

    Raises:
        Aborted: That was asked for; finished audits are in the store.
    """
    handle, evidence = bench.handle, Evidence(store)
    chosen = audited(Trials(store).records(handle), handle.spec.search.seed)[:trials]
    known = {run.root for run in evidence.runs(handle, "audit")}
    for record in chosen:
        if record.root in known:
            continue
        try:
            run = _audit(bench, record)
        except TrialError:  # to its end it would have failed: stopping it was right
            continue
        evidence.add_run(handle, run)
        on_run(run)
    return evidence.runs(handle, "audit")


def audited(records: Sequence[TrialRecord], seed: int) -> list[TrialRecord]:
    """Pruned trials in a random order that stays when more trials come."""

    def place(record: TrialRecord) -> str:
        return hashlib.sha256(f"audit {seed} {record.root}".encode()).hexdigest()

    pruned = [r for r in records if r.state is TrialState.PRUNED and r.strategy is not None]
    return sorted(pruned, key=place)


def _confirm(bench: Workbench, pool: PoolFeatures, record: TrialRecord, number: int) -> ExtraRun:
    assert record.strategy is not None
    search = bench.handle.spec.search
    began = time.perf_counter()
    seed = (search.seed * 1_000_003 + 104_729 * (number + 1)) % 2**31
    task = fresh_split(bench.task, number, search.seed)
    run = make_run(
        record.strategy,
        task,
        bench.backbone(record.strategy.source),
        max_epochs=search.max_epochs,
        seed=seed,
        device=bench.device,
        cache=bench.activations,
        known=pool,
        views_seed=search.seed,
    )
    kept = ranked_epoch(record, bench.handle.task.metric).epoch
    run.train_to(kept)
    logits, found = run.judge()
    rows = task.indices["validation"]
    judged, correct = _bits(bench.task, rows, logits.argmax(axis=1) == task.labels[rows])
    return ExtraRun(
        kind="confirm",
        root=record.root,
        run=number,
        seed=seed,
        epoch=kept,
        images=len(rows),
        accuracy=found.accuracy,
        balanced_accuracy=found.balanced_accuracy,
        macro_f1=found.macro_f1,
        nll=found.nll,
        seconds=time.perf_counter() - began,
        judged=judged,
        correct=correct,
    )


def _audit(bench: Workbench, record: TrialRecord) -> ExtraRun:
    assert record.strategy is not None
    search = bench.handle.spec.search
    began = time.perf_counter()
    run = make_run(
        record.strategy,
        bench.task,
        bench.backbone(record.strategy.source),
        max_epochs=search.max_epochs,
        seed=search.seed,
        device=bench.device,
        cache=bench.activations,
        known=bench.banks,
    )
    train_to_the_end(run)
    assert run.best is not None
    return ExtraRun(
        kind="audit",
        root=record.root,
        run=0,
        seed=search.seed,
        epoch=run.best.epoch,
        images=len(bench.task.indices["validation"]),
        accuracy=run.best.accuracy,
        balanced_accuracy=run.best.balanced_accuracy,
        macro_f1=run.best.macro_f1,
        nll=run.best.validation_loss,
        seconds=time.perf_counter() - began,
    )


def _bits(task: LoadedTask, rows: np.ndarray, right: np.ndarray) -> tuple[str, str]:
    """Which images of the pool were judged, and which answers were right."""
    pool = pool_of(task)
    judged, correct = np.zeros(len(pool), bool), np.zeros(len(pool), bool)
    places = np.searchsorted(pool, rows)
    judged[places] = True
    correct[places] = right
    return pack_bits(judged), pack_bits(correct)
