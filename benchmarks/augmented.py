"""What drawing training images anew costs beside the step: crop, mirror and TrivialAugment, against none.

    python benchmarks/augmented.py FOLDER [--pixels 128] [--images 128] [--rounds 5] [--threads 2]

FOLDER holds photographs, a subfolder a class. Epochs of the whole network (batches of 32, norm layers train)
with and without run in turns in one process; their ratio says what augmentation costs: by the clock, and by the
process's own processor time, which other programs change little. The last lines say what drawing an image takes by
itself, part by part, in processor time.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from functools import partial

import torch
from interleaved import Pair, in_turns, machine

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import UserError
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan

SOURCE, CPU, GOAL = "efficientnet-lite0", torch.device("cpu"), 1.15
WHOLE = {
    "source": SOURCE, "tune_mode": "full", "norm_policy": "train", "head_init": "zero", "batch": 32,
}  # fmt: skip
DRAWN = {"crop": 0.5, "mirror": True, "distort": "trivial", "distort_strength": 0.5}


def task_of(folder: str, pixels: int, images: int) -> LoadedTask:
    task = load_task(TaskSpec(dataset=folder, resolution=pixels, on_bad_image="skip"))
    rows = {"train": task.indices["train"][:images], "validation": task.indices["validation"][:2]}
    return dataclasses.replace(task, indices={**task.indices, **rows})


def training(backbone: Backbone, task: LoadedTask, changes: dict[str, object], rounds: int) -> TrainingRun:
    strategy = Strategy.model_validate({**WHOLE, **changes})
    plan = build_plan(strategy, backbone, task, seed=0, device=CPU)
    return TrainingRun(plan, task, max_epochs=rounds + 2, seed=0, device=CPU)


def drawing(task: LoadedTask, backbone: Backbone, changes: dict[str, object]) -> float:
    """Milliseconds of processor time an image."""
    plan = build_plan(Strategy.model_validate({**WHOLE, **changes}), backbone, task, seed=0, device=CPU)
    images, rows = plan.seen(task), task.indices["train"]
    taken = []
    for number in range(1, 6):
        began = time.process_time()
        images[images.numbers(rows, [number])]
        taken.append(time.process_time() - began)
    return 1000 * statistics.median(taken[1:]) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    try:
        task = task_of(asked.folder, asked.pixels, asked.images)
    except UserError as error:
        parser.error(str(error))
    backbone = get_source(SOURCE).load(task.task.channels)
    loops = [
        training(backbone, task, changes, asked.rounds).epochs()
        for changes in (dict[str, object](DRAWN), dict[str, object]())
    ]
    steps = -(-len(task.indices["train"]) // 32)
    spent: tuple[list[float], list[float]] = ([], [])

    def epoch(which: int) -> None:
        began = time.process_time()
        next(loops[which])
        spent[which].append(time.process_time() - began)

    pair = in_turns(partial(epoch, 0), partial(epoch, 1), asked.rounds)
    work = Pair(spent[0][1:], spent[1][1:])
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(
        f"{machine()}; load {load}; {asked.pixels} pixels, batches of 32, {len(task.indices['train'])} images"
    )
    print("augmented against plain, ms a step:")
    print(f"  clock      {pair.row(steps)}  goal {GOAL:.2f}")
    print(f"  processor  {work.row(steps)}")
    print("drawing alone, ms of processor time an image:")
    for name, changes in (
        ("crop", {"crop": DRAWN["crop"]}),
        ("mirror", {"mirror": True}),
        ("trivial", {name: DRAWN[name] for name in ("distort", "distort_strength")}),
        ("all", DRAWN),
    ):
        print(f"  {name:8} {drawing(task, backbone, dict[str, object](changes)):6.3f}")
    print(f"AUGMENTED {pair.ratio:.3f}x by the clock, {work.ratio:.3f}x in processor time")


if __name__ == "__main__":
    main()
