"""One cell of `worth.py`, in a process of its own; what it found is written whole."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import sqlalchemy as sa
import torch
from here import machine

from automl_transfer.api.training import score_of
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.records import TrialRecord, order_among
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import get_source
from automl_transfer.reporting.ranking import by_validation
from automl_transfer.search.first import RUN_TO_THE_END, TUNED_LABEL
from automl_transfer.search.portfolio import PORTFOLIO
from automl_transfer.store import tables as t
from automl_transfer.store.rungs import Rungs
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import resolve_storage
from automl_transfer.store.values import Mark
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.making import make_run, train_to_the_end
from studies import arguments_of

STUDY = "worth"
BIAS_TRIALS = 6
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
        took = record.outcome.train_seconds if record.outcome is not None else record.seconds
        spent[record.root] = max(took, spent.get(record.root, 0.0))  # a continuation has what came before
        trained = record.epochs[-1].epoch if record.epochs else 0
        if record.root in first and trained > first[record.root] and record.root not in through:
            kept.add(record.root)
    lost = sum(seconds for root, seconds in spent.items() if root not in kept)
    return lost / max(1e-9, sum(spent.values()))


def search(asked: argparse.Namespace) -> dict[str, Any]:
    """A real search, and from its store the best first answer and what was wasted."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        url = f"sqlite:///{folder}/study.db"
        command = [
            sys.executable, "-m", "automl_transfer", "search", *arguments_of(asked.task, asked.seed, asked.photos),
            "--minutes", str(asked.minutes), "--study-name", STUDY, "--storage", url,
            "--output", str(folder / "out"), "--cache", str(folder / "cache"),
        ]  # fmt: skip
        if asked.bias:
            command += ["--trials", str(BIAS_TRIALS), "--no-refit", "--set", "search.stop_when=budget"]
        if asked.max_steps is not None:
            command += ["--set", f"search.max_steps={asked.max_steps}"]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            sys.exit(f"the search ended with {done.returncode}: {done.stderr or done.stdout}")
        recipe, ranking = (
            json.loads((folder / "out" / name).read_text(encoding="utf-8"))
            for name in ("best_strategy.json", "ranking.json")
        )
        with Store.open(resolve_storage(url, None, folder)) as store:
            study = store.study(STUDY)
            records, marks = Trials(store).records(study), Rungs(store, study).news()
            query = sa.select(t.at_trials.c.root, t.at_trials.c.label)
            labels = {
                root: str(label) for root, label in store.read(lambda c: c.execute(query).all(), "labels")
            }
        spec, train = study.spec, study.task.splits.train
        answers = by_validation([r for r in records if labels[r.root] in FIRST], "accuracy")
        task = load_task(spec.task)
        best = {row["root_trial"] for row in ranking["rows"] if row["set"] == "a"}
        through = {root for root, label in labels.items() if label in RUN_TO_THE_END}
        solved = [r for r in answers if labels[r.root] != TUNED_LABEL and "views" not in labels[r.root]]
        told = recipe["metrics"]
        horizon = dataclasses.asdict(spec.search.horizon(train))
        first = {} if asked.bias else trained(answers[0].strategy, task, horizon, spec.search.seed)
    return {
        "test": told["test"]["accuracy"], "validation": told["validation"]["accuracy"],
        "confirmed": (told["confirmation"] or {}).get("accuracy"), "seconds": seconds, "trials": len(labels),
        "strategy": recipe["strategy"], "label": labels[ranking["rows"][0]["root_trial"]],
        "first": {"label": labels[answers[0].root], **first}, "wasted": wasted(records, marks, best, through),
        "profile": solved[0].strategy.model_dump(mode="json") if solved else None,
        "spec": spec.task.model_dump(mode="json"), "horizon": horizon,
    }  # fmt: skip


def recipe(asked: argparse.Namespace) -> dict[str, Any]:
    """One recipe laid over what the profile found, trained once."""
    base = json.loads(asked.base.read_text(encoding="utf-8"))
    task = load_task(TaskSpec.model_validate(base["spec"]))
    strategy = laid_over(PORTFOLIO[asked.arm.removeprefix("recipe: ")], base["profile"], task)
    found = trained(strategy, task, base["horizon"], asked.seed)
    return {**found, "strategy": strategy.model_dump(mode="json")}


def laid_over(wanted: Mapping[str, Any], profile: Mapping[str, Any] | None, task: LoadedTask) -> Strategy:
    """A recipe with the source, cut, taps and resolution that the profile found, where it names no other."""
    values = {**(profile or Strategy().model_dump()), **wanted}
    if not task.task.may("mirror"):
        values["mirror"] = False
    return Strategy.of(values)


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


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("arm")
    parser.add_argument("task")
    parser.add_argument("seed", type=int)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--bias", action="store_true")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    found = search(asked) if asked.arm == "search" else recipe(asked)
    cell = {"arm": asked.arm, "task": asked.task, "seed": asked.seed, "minutes": asked.minutes, **found}
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    part = asked.output.with_suffix(".part")
    part.write_text(json.dumps({**cell, "machine": machine()}, indent=1) + "\n", encoding="utf-8")
    part.replace(asked.output)


if __name__ == "__main__":
    main()
