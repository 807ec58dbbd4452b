"""Trainings beside the search: the best strategies confirmed, and pruned trials run to their end."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from automl_transfer.aborting import Aborted, abortable_also, check_abort
from automl_transfer.api.time_plan import Costs
from automl_transfer.data.folds import fresh_split, resplit_rows
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.evidence import ExtraRun, FailedRun, pack_bits
from automl_transfer.domain.measured import Measured
from automl_transfer.domain.records import TrialRecord, TrialState, classify
from automl_transfer.errors import StoreUnavailableError
from automl_transfer.reporting.candidates import by_validation, ranked_epoch
from automl_transfer.reporting.confirmed import pool_groups
from automl_transfer.reporting.racing import most_seconds, next_round, worth_confirming
from automl_transfer.search.noise import search_is_over
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.training.making import make_run, train_to_the_end
from automl_transfer.workers.sharing import SharedWork, confirm_work

if TYPE_CHECKING:
    from automl_transfer.training.feature_bank import ResplitFeatures

OnRun = Callable[[ExtraRun], None]
OnFailure = Callable[[FailedRun], None]


def _silent(told: object = None) -> None: ...


def confirm_best(
    store: Store,
    bench: Workbench,
    *,
    strategies: int,
    max_runs: int,
    bounded: bool = False,
    until: Callable[[Sequence[TrialRecord], Sequence[ExtraRun]], float] = lambda records, runs: math.inf,
    on_run: OnRun = _silent,
    on_failure: OnFailure = _silent,
    on_wait: Callable[[], None] = _silent,
) -> list[ExtraRun]:
    """Train the best strategies of a study again, and keep every run in the store.

    Candidates are the best by validation score. Run r has a fresh seed and a fresh split of training +
    validation data, the same ones for every candidate (augmented views of an image are those of the
    study), and trains as many epochs as the candidate's trial kept: no epoch is picked by what the run is
    judged on. Runs are spent where they decide (`reporting.racing`). The test split is not looked at.

    Several processes that confirm one study share the runs. A run that fails is kept with its reason, and
    its strategy is confirmed no further by this call; another call tries it again.

    Args:
        store: Where the study is.
        bench: Its images and networks.
        strategies: How many candidates.
        max_runs: At most so many runs of each.
        bounded: After two runs of each, train others than the leader only as long as all runs together take
            no longer than half the time of the trials, or `racing.LEAST_SECONDS`; and where nothing is left
            to gain, only those that cost about as little as the best (`racing.worth_confirming`), and the
            leader, too, no longer than half the time of the trials.
        until: Given the study's trials and the runs so far, a time of `time.monotonic()`: begin no run that
            would end later, as far as earlier ones tell, and give up one that does. Where not all candidates
            fit, the better ones are confirmed.
        on_run: Told about each finished run.
        on_failure: Told about each run that failed.
        on_wait: Told once, where all that is left is being trained by other processes.

    Returns:
        All confirmation runs of the study, earlier ones and those of other processes included.

    Raises:
        Aborted: That was asked for; finished runs are in the store, and the same call goes on after them.
    """
    from automl_transfer.training.feature_bank import ResplitFeatures

    handle, evidence = bench.handle, Evidence(store)
    metric, groups = handle.task.metric, pool_groups(handle.task)
    records = Trials(store).records(handle)
    candidates = by_validation(records, metric)[:strategies]
    settled = bounded and search_is_over(Trials(store), handle) is not None
    candidates = worth_confirming(candidates, settled=settled)
    by_root = {record.root: record for record in candidates}
    most = most_seconds(records, settled=settled) if bounded else math.inf
    known, given_up = set(evidence.failures(handle, "confirm")), set[int]()
    trained = set[tuple[int, int]]()
    features = ResplitFeatures(bench.task, bench.activations)
    waits = False
    with SharedWork(store, handle) as shared:
        while True:
            runs = evidence.runs(handle, "confirm")
            given_up |= {
                failed.root for failed in evidence.failures(handle, "confirm") if failed not in known
            }
            left = [record for record in candidates if record.root not in given_up]
            costs = Costs.known(handle.task, runs)
            deadline = until(records, runs)
            chosen = [record.root for record in _in_time(left, costs, deadline)]
            wanted = next_round(
                chosen, runs, max_runs, metric, most_seconds=most, settled=settled, groups=groups
            )
            if not wanted or time.monotonic() >= deadline:
                return runs
            mine = next((pair for pair in wanted if shared.take(confirm_work(*pair))), None)
            if mine is None:
                if not waits:
                    on_wait()
                waits = True
                check_abort()
                shared.pause()
                continue
            root, number = mine
            if mine in trained:  # what stands in its row cannot be read here, and stays
                given_up.add(root)
                shared.give_back(confirm_work(root, number))
                continue
            try:
                if any((run.root, run.run) == mine for run in evidence.runs(handle, "confirm")):
                    continue  # another process was quicker
                if not _fits(by_root[root], root == candidates[0].root, costs, deadline):
                    return runs
                with abortable_also(lambda end=deadline: time.monotonic() >= end):  # type: ignore[misc]
                    run = _confirm(bench, features, by_root[root], number)
            except Aborted:
                check_abort()
                return runs  # only the time is up
            except StoreUnavailableError:
                raise
            except Exception as error:
                given_up.add(root)
                failed = FailedRun(kind="confirm", root=root, run=number, reason=str(classify(error))[:2000])
                evidence.add_failure(handle, failed)
                on_failure(failed)
            else:
                evidence.add_run(handle, run)
                trained.add(mine)
                on_run(run)
            finally:
                shared.give_back(confirm_work(root, number))


def _in_time(candidates: Sequence[TrialRecord], costs: Costs, until: float) -> Sequence[TrialRecord]:
    """The best of the candidates of which the first runs (`racing`) can all be trained in time; at least one.

    Not the cheap ones: what is confirmed is ranked before what is not and was no better.
    """
    seconds = until - time.monotonic()
    for place, record in enumerate(candidates):
        missing = costs.first_runs(record)
        seconds -= missing
        if place and missing and seconds < 0.0:
            return candidates[:place]
    return candidates


def _fits(record: TrialRecord, is_best: bool, costs: Costs, until: float) -> bool:
    """Whether a run can be expected to end in time; the first run of the best strategy is always tried."""
    if is_best and record.root not in costs.runs:
        return True
    return time.monotonic() + costs.of_run(record) <= until


def audit_pruned(
    store: Store,
    bench: Workbench,
    *,
    trials: int,
    on_run: OnRun = _silent,
    on_failure: OnFailure = _silent,
) -> list[ExtraRun]:
    """Run pruned trials, chosen at random, to the end they were denied, and keep what they reached.

    The choice depends on the study's seed and the trials' numbers alone: a larger audit later contains
    the smaller one. Seeds, splits and schedule are the search's own. One that fails is kept with its
    reason; it says nothing about whether pruning was right.

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
        except (Aborted, StoreUnavailableError):
            raise
        except Exception as error:
            failed = FailedRun(kind="audit", root=record.root, run=0, reason=str(classify(error))[:2000])
            evidence.add_failure(handle, failed)
            on_failure(failed)
            continue
        evidence.add_run(handle, run)
        on_run(run)
    return evidence.runs(handle, "audit")


def audited(records: Sequence[TrialRecord], seed: int) -> list[TrialRecord]:
    """Pruned trials in a random order that stays when more trials come; no paused ones, which may go on."""

    def place(record: TrialRecord) -> str:
        return hashlib.sha256(f"audit {seed} {record.root}".encode()).hexdigest()

    ended = [r for r in records if r.state is TrialState.PRUNED and not r.is_paused]
    pruned = [r for r in ended if r.strategy is not None]
    return sorted(pruned, key=place)


def _confirm(bench: Workbench, known: ResplitFeatures, record: TrialRecord, number: int) -> ExtraRun:
    assert record.strategy is not None
    from automl_transfer.training.evaluate import scores

    search = bench.handle.spec.search
    began = time.perf_counter()
    seed = (search.seed * 1_000_003 + 104_729 * (number + 1)) % 2**31
    task = fresh_split(bench.task, number, search.seed)
    run = make_run(
        record.strategy,
        task,
        bench.backbone(record.strategy.source),
        horizon=bench.horizon,
        seed=seed,
        device=bench.device,
        cache=bench.activations,
        known=known,
        views_seed=search.seed,
        precision=search.precision,
    )
    kept = ranked_epoch(record, bench.handle.task.metric).epoch
    run.train_to(kept)
    logits, found = run.judge()
    rows = task.indices["validation"]
    labels = task.labels[rows]
    chose = bench.task.indices["validation"]
    new = ~np.isin(rows, chose)
    unseen = None
    if new.any():
        withstood = None if run.withstood is None else run.withstood[new]
        plain = scores(logits[new], labels[new], len(task.task.classes), task.task.metric, withstood)
        unseen = Measured(**plain.shares())
    return ExtraRun(
        kind="confirm",
        root=record.root,
        run=number,
        seed=seed,
        epoch=kept,
        images=len(rows),
        **found.shares(),
        nll=found.nll,
        seconds=time.perf_counter() - began,
        judged=_bits(bench.task, rows),
        correct=_bits(bench.task, rows[logits.argmax(axis=1) == labels]),
        chose=_bits(bench.task, chose),
        unseen=unseen,
    )


def _audit(bench: Workbench, record: TrialRecord) -> ExtraRun:
    assert record.strategy is not None
    search = bench.handle.spec.search
    began = time.perf_counter()
    run = make_run(
        record.strategy,
        bench.task,
        bench.backbone(record.strategy.source),
        horizon=bench.horizon,
        seed=search.seed,
        device=bench.device,
        cache=bench.activations,
        known=bench.banks,
        precision=search.precision,
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
        **run.best.shares(),
        nll=run.best.validation_loss,
        seconds=time.perf_counter() - began,
    )


def _bits(task: LoadedTask, rows: np.ndarray) -> str:
    """One bit an image of training and validation: whether it is among these rows."""
    return pack_bits(np.isin(resplit_rows(task), rows).tolist())
