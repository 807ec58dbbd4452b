"""What preparations without labels give: the same strategy with each of them, and with none.

    python benchmarks/preparations.py "digits?per_class=20" --truncation 4 --seeds 5
    python benchmarks/preparations.py "digits?per_class=20" --truncation 4 --seeds 5 --unlabelled
    python benchmarks/preparations.py PHOTOS/tiles --resolution 64 --truncation 5 --seeds 3

For each seed, which draws the splits as well: a head in closed form (its penalty chosen on validation
images), and the upper half trained on from that head, gently, for nine epochs; accuracy on test images. The
last lines are mean gains over no preparation with 95% intervals over seeds (Student's t). With
`--unlabelled`, images that a few-image version leaves over are given to preparations.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.data.unlabelled import Unlabelled
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.training.activation_cache import disk_cache
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.making import make_run, train_to_the_end
from automl_transfer.training.run import TrainingRun

SOURCE, CPU = "efficientnet-lite0", torch.device("cpu")
PENALTIES = (0.01, 0.1, 1.0, 10.0)
TUNED = {"tune_mode": "suffix", "freeze_depth": 4, "head_lr_mult": 0.01, "learning_rate": 1e-4}
PREPARATIONS = ("none", "whiten", "denoise", "masked")


def main() -> None:
    """Print one line a run, then the gains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--truncation", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--unlabelled", action="store_true")
    parser.add_argument("--only", nargs="+", choices=("solved", "tuned"), default=["solved", "tuned"])
    given = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    found: dict[tuple[str, str], list[float]] = {}
    backbone = None
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            spec = TaskSpec(dataset=given.dataset, resolution=given.resolution, seed=seed)
            task = load_task(spec)
            task = _with_the_rest(task) if given.unlabelled else task
            backbone = backbone or get_source(SOURCE).load(task.task.channels)
            for prepare in PREPARATIONS:
                base = Strategy(
                    source=SOURCE, truncation=given.truncation, prepare=prepare, prepare_steps=given.steps
                )

                trained = functools.partial(_trained, base, task, backbone, seed, Path(folder))
                start = time.perf_counter()
                heads = [trained({"tune_mode": "closed_form", "ridge_lambda": each}) for each in PENALTIES]
                solved = min(heads, key=lambda run: run.best.validation_loss)
                runs = {"solved": solved}
                if "tuned" in given.only:
                    penalty = solved.plan.strategy.ridge_lambda
                    runs["tuned"] = trained({**TUNED, "ridge_lambda": penalty})
                for kind, run in runs.items():
                    accuracy = _on_test(run)
                    found.setdefault((kind, prepare), []).append(accuracy)
                    seconds = time.perf_counter() - start
                    print(f"seed {seed} {kind} {prepare}: {accuracy:.4f}, {seconds:.0f} s", flush=True)
                if (shown := solved.plan.reconstructions) is not None:
                    print(f"seed {seed} {prepare}: error {shown.before:.3g} to {shown.after:.3g}", flush=True)
    for (kind, prepare), values in found.items():
        gains = [100 * (a - b) for a, b in zip(values, found[kind, "none"], strict=True)]
        spread = (
            stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / math.sqrt(len(gains))
            if len(gains) > 1
            else math.nan
        )
        print(
            f"{given.dataset} {kind} {prepare}: {100 * statistics.mean(values):.2f}%, "
            f"gain {statistics.mean(gains):+.2f} +- {spread:.2f} points (n = {len(gains)})"
        )


def _trained(
    base: Strategy, task: LoadedTask, backbone: Backbone, seed: int, cache: Path, values: dict[str, object]
) -> TrainingRun:
    strategy = Strategy.model_validate({**base.model_dump(), **values}).canonical()
    run = make_run(
        strategy, task, backbone, horizon=Horizon(9), seed=seed, device=CPU, cache=disk_cache(cache)
    )
    train_to_the_end(run)
    return run


def _on_test(run: TrainingRun) -> float:
    task, rows = run.task, run.task.indices["test"]
    logits = predict_logits(run.model, task.images, rows, run.plan.normaliser(CPU), CPU)
    return scores(logits, task.labels[rows], len(task.task.classes)).accuracy


def _with_the_rest(task: LoadedTask) -> LoadedTask:
    """Rows in no split, as images without a label."""
    used = np.concatenate([*task.indices.values()])
    rest = np.asarray(task.images[np.setdiff1d(np.arange(len(task.labels)), used)])
    return dataclasses.replace(task, unlabelled=Unlabelled(len(rest), lambda: rest))


if __name__ == "__main__":
    main()
