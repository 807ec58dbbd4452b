"""What a search found beyond its first answers, from its store and what it shipped.

Of one search, which `photos.py` (its arm `ours`) and `worth.py` both run; either writes it into its cell.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import torch

from automl_transfer.api.training import score_of
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.records import TrialRecord, order_among
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import get_source
from automl_transfer.reporting.candidates import by_validation
from automl_transfer.search.first import RUN_TO_THE_END, TUNED_LABEL
from automl_transfer.store import tables as t
from automl_transfer.store.rungs import Rungs
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import resolve_storage
from automl_transfer.store.values import Mark
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.making import make_run, train_to_the_end

FIRST = ("profile", "profile, larger images", "profile, augmented views", TUNED_LABEL)
"""First answers as commit e6cfbcb enqueued them: solved heads, and the one tuned on gently."""


def wasted(
    records: Iterable[TrialRecord], marks: Iterable[Mark], best: Collection[int], through: Collection[int]
) -> float:
    """Share of trials' seconds spent on strategies outside the best that did not go on from a rung.

    Args:
        records: Of the study.
        marks: What came to its rungs.
        best: Roots of the set of the best.
        through: Roots of those that run through rungs whatever they have there: that is no promotion.
    """
    first: dict[int, int] = {}
    for mark in marks:
        first[mark.root] = min(mark.rung, first.get(mark.root, mark.rung))
    spent: dict[int, float] = {}
    kept = set(best)
    for record in records:
        took = record.train_seconds
        spent[record.root] = max(took, spent.get(record.root, 0.0))  # a continuation has what came before
        trained = record.epochs[-1].epoch if record.epochs else 0
        if record.root in first and trained > first[record.root] and record.root not in through:
            kept.add(record.root)
    lost = sum(seconds for root, seconds in spent.items() if root not in kept)
    return lost / max(1e-9, sum(spent.values()))


def found(url: str, name: str, output: Path, *, judge_first: bool = True) -> dict[str, Any]:
    """Facts of a search that ended: what it shipped, its best first answer, what was wasted.

    Args:
        url: Of its store.
        name: Of its study.
        output: The folder that it shipped into.
        judge_first: Train the best first answer once more (it ends with the same weights), to look at it on test.
    """
    recipe, ranking = (
        json.loads((output / file).read_text(encoding="utf-8"))
        for file in ("best_strategy.json", "ranking.json")
    )
    with Store.open(resolve_storage(url, None, output)) as store:
        study = store.study(name)
        records, marks = Trials(store).records(study), Rungs(store, study).news()
        query = sa.select(t.at_trials.c.root, t.at_trials.c.label)
        labels = {root: str(label) for root, label in store.read(lambda c: c.execute(query).all(), "labels")}
    spec = study.spec
    answers = by_validation([r for r in records if labels[r.root] in FIRST], "accuracy")
    solved = [r for r in answers if labels[r.root] != TUNED_LABEL and "views" not in labels[r.root]]
    best = {row["root_trial"] for row in ranking["rows"] if row["set"] == "a"}
    through = {root for root, label in labels.items() if label in RUN_TO_THE_END}
    told = recipe["metrics"]
    horizon = dataclasses.asdict(spec.search.horizon(study.task.splits.train))
    first: dict[str, Any] = {"label": labels[answers[0].root]}
    if judge_first:
        first |= trained(answers[0].strategy, load_task(spec.task), horizon, spec.search.seed)
    return {
        "test": told["test"]["accuracy"], "validation": told["validation"]["accuracy"],
        "confirmed": (told["confirmation"] or {}).get("accuracy"), "trials": len(labels),
        "strategy": recipe["strategy"], "label": labels[ranking["rows"][0]["root_trial"]], "first": first,
        "wasted": wasted(records, marks, best, through),
        "profile": solved[0].strategy.model_dump(mode="json") if solved and solved[0].strategy else None,
        "spec": spec.task.model_dump(mode="json"), "horizon": horizon,
    }  # fmt: skip


def trained(
    strategy: Strategy | None, task: LoadedTask, horizon: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """One training to the end of the horizon: what its best epoch has on validation, and on test."""
    assert strategy is not None
    began = time.monotonic()
    run = make_run(
        strategy, task, get_source(strategy.source).load(task.task.channels), horizon=Horizon(**horizon), seed=seed,
        device=torch.device("cpu"), cache=MemoryCache(2_000_000_000),
    )  # fmt: skip
    train_to_the_end(run)
    assert run.best is not None
    score, loss = order_among((run.best,), "accuracy")(run.best)
    test = score_of(run, "test").accuracy
    return {"test": test, "validation": score, "loss": -loss, "seconds": time.monotonic() - began}
