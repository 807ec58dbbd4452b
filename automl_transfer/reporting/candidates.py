"""The trials that a ranking is of: one a strategy, in the order of their validation scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from automl_transfer.domain.measured import Metric
from automl_transfer.domain.records import EpochResult, TrialRecord, order_among


def one_per_strategy(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """One complete trial for each strategy.

    Of the continuations of one root the latest counts. Of several roots with equal strategies the first
    counts, not the best: else a strategy would rise for having been tried more often.
    """
    by_root: dict[int, TrialRecord] = {}
    for record in records:
        known = by_root.get(record.root)
        if record.can_be_ranked and (known is None or known.number < record.number):
            by_root[record.root] = record
    by_key: dict[str, TrialRecord] = {}
    for _, record in sorted(by_root.items()):
        assert record.strategy is not None
        by_key.setdefault(record.strategy.key(), record)
    return list(by_key.values())


def ranked_epoch(record: TrialRecord, metric: Metric) -> EpochResult:
    """The epoch whose weights a trial kept."""
    kept = record.outcome.best_epoch if record.outcome else None
    for epoch in record.epochs:
        if epoch.epoch == kept:
            return epoch
    best = record.best_epoch(metric)
    assert best is not None, "only trials with a curve are ranked"
    return best


def by_validation(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """One complete trial for each strategy, the best by its validation score first."""
    chosen = one_per_strategy(records)
    return sorted(chosen, key=order_by_validation(chosen, metric))


def order_by_validation(
    chosen: Iterable[TrialRecord], metric: Metric
) -> Callable[[TrialRecord], tuple[float, float, float, float, int]]:
    """By what these trials are compared on the validation split; lower is better."""
    of_epoch = order_among((ranked_epoch(record, metric) for record in chosen), metric)

    def order(record: TrialRecord) -> tuple[float, float, float, float, int]:
        score, likelihood = of_epoch(ranked_epoch(record, metric))
        ms = record.outcome.predict_ms_per_image if record.outcome else float("inf")
        return -score, -likelihood, ms, record.train_seconds, record.root

    return order
