"""The oracle ratio: a whole search beside one training of its best fine-tuned strategy at full epochs.

    python benchmarks/oracle.py [digits mnist5k ...] [--runs 3]

Somebody who knew that strategy beforehand would train it once: without a cache, without a search. Both
are commands of their own, from their start, imports and data included. One line a run: the seconds of the
search without the confirmation runs, with them, and the ratio of each to the oracle's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PRESET = Path(__file__).resolve().parents[1] / "studies" / "quick.toml"


def train(facts: dict[str, Any]) -> None:
    """What the oracle's process does."""
    import torch

    from automl_transfer.data.task import load_task
    from automl_transfer.domain.horizon import Horizon
    from automl_transfer.domain.spec import TaskSpec
    from automl_transfer.domain.strategy import Strategy
    from automl_transfer.models.registry import get_source
    from automl_transfer.training.activation_cache import MemoryCache
    from automl_transfer.training.making import make_run, train_to_the_end

    task, strategy = (
        load_task(TaskSpec.model_validate(facts["task"])),
        Strategy.model_validate(facts["strategy"]),
    )
    run = make_run(
        strategy, task, get_source(strategy.source).load(task.task.channels), seed=0,
        horizon=Horizon(**facts["horizon"]), device=torch.device("cpu"), cache=MemoryCache(0),
    )  # fmt: skip
    train_to_the_end(run)


def search(dataset: str, seed: int, folder: Path) -> float:
    """Seconds of one search; its study stays in `folder`."""
    command = [
        sys.executable, "-m", "automl_transfer", "search", str(PRESET),
        "--storage", f"sqlite:///{folder}/study.db", "--output", f"{folder}/out", "--cache", f"{folder}/cache",
        "--set", f"search.seed={seed}", "--set", f"task.seed={seed}", "--set", f"task.dataset={dataset}",
    ]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return time.perf_counter() - began


def oracle(folder: Path) -> tuple[float, float, str]:
    """Seconds of confirmation; to train the study's best fine-tuned strategy once; and its words."""
    from automl_transfer.domain.records import TrialState
    from automl_transfer.store.evidence import Evidence
    from automl_transfer.store.store import Store
    from automl_transfer.store.trials import Trials
    from automl_transfer.store.url import resolve_storage

    with Store.open(resolve_storage(f"sqlite:///{folder}/study.db", None, folder)) as store:
        handle = store.study("quick")
        confirmation = sum(run.seconds for run in Evidence(store).runs(handle, "confirm"))
        tuned = [
            r for r in Trials(store).records(handle)
            if r.strategy is not None and r.strategy.tune_mode != "closed_form"
            and r.state in (TrialState.COMPLETE, TrialState.PRUNED) and r.value is not None
        ]  # fmt: skip
    best = max(tuned, key=lambda r: (r.state is TrialState.COMPLETE, r.value or 0.0))
    assert best.strategy is not None
    facts = {
        "task": handle.spec.task.model_dump(mode="json"), "strategy": best.strategy.model_dump(mode="json"),
        "horizon": dataclasses.asdict(handle.spec.search.horizon(handle.task.splits.train)),
    }  # fmt: skip
    began = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--train", json.dumps(facts)], check=True)
    return confirmation, time.perf_counter() - began, f"{best.value:.4f}, {best.strategy.describe()}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("datasets", nargs="*", default=["digits", "mnist5k", "textures?patch=16"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        train(options.train)
        return
    ratios: list[tuple[float, float]] = []
    for dataset in options.datasets:
        for seed in range(options.runs):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                whole = search(dataset, seed, folder)
                confirmation, once, words = oracle(folder)
            plain = whole - confirmation
            ratios.append((plain / once, whole / once))
            print(f"{dataset:20} seed {seed}  search {plain:5.1f} s, with confirmation {whole:5.1f} s; the "
                  f"oracle {once:5.1f} s: x{plain / once:.2f}, x{whole / once:.2f}  ({words})",
                  flush=True)  # fmt: skip
    for name, values in zip(("to the ranking", "with confirmation"), zip(*ratios, strict=True), strict=True):
        print(f"ORACLE {name}: median x{statistics.median(values):.2f}, most x{max(values):.2f} "
              f"(n = {len(values)}), geometric mean x{math.exp(statistics.fmean(map(math.log, values))):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
