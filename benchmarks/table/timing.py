"""Seconds of the cells that an accelerator trained, as the processor that recorded the others takes them.

    python benchmarks/table/timing.py --photos FOLDER [--tasks ...]

A cell's accuracies hardly depend on what trained it; its seconds do, and a replay's clock is one processor's. So
each such strategy is trained here as well, as far as its epochs still change what they cost: one epoch, or `LATER`
where what trains changes on the way; the others take what the last of them took. Seconds of a strategy hold for
all seeds. Of the epochs that are trained twice, the validation accuracies can be compared:

    python benchmarks/table/timing.py --compare

`accelerated.jsonl` of a task's folder holds cells as `record.py` makes them on a GPU, `times.jsonl` what this
appends, a line a strategy. Stop it whenever you like; several processes may go on at once.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))
import stored
import torch
from images import TASKS
from record import CPU, Recorder, Yardstick, arguments, check_photos, horizon_of

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import NotANumberError
from automl_transfer.models.network import Backbone
from automl_transfer.training.making import make_run

LATER = 5
"""Epochs that are timed where a strategy has phases: a third of nine trains the head alone."""


def timed(chosen: Strategy, task: LoadedTask, backbone: Backbone) -> dict[str, Any]:
    """Train a strategy's first epochs, of the whole horizon's schedule."""
    wanted = 1 if chosen.phases == "one" else LATER
    began = time.process_time()
    run = make_run(chosen, task, backbone, horizon=horizon_of(task.task.splits.train), seed=0, device=CPU)
    now = time.process_time()
    prepared, began = now - began, now
    seconds, validation = [], []
    try:
        for result in run.epochs():
            now = time.process_time()
            seconds.append(round(now - began, 3))
            validation.append(round(result.accuracy, 5))
            if len(seconds) == wanted:
                break
            began = time.process_time()
    except NotANumberError:
        seconds.append(round(time.process_time() - began, 3))
    return {"prepared": round(prepared, 3), "seconds": seconds, "validation": validation}


def time_task(recorder: Recorder, data: Path, name: str, yardstick: Yardstick) -> None:
    """What of a task's strategies nobody has timed yet."""
    folder = data / name
    known = {cell.strategy.key(): cell for cell in stored.accelerated(folder)}
    for key in known.keys() - stored.times(folder).keys():

        def make(key: str = key) -> dict[str, Any]:
            chosen, task = known[key].strategy, recorder.task(name)
            found = timed(chosen, task, recorder.backbone(chosen.source, task))
            found = {"key": key, **found, "yardstick": yardstick.milliseconds()}
            stored.append(folder / stored.TIMES, found)
            return found

        def is_there(key: str = key) -> bool:
            return key in stored.times(folder)

        if (found := stored.claimed(data / "claims", f"time-{name}-{key}", is_there, make)) is not None:
            print(f"{name}, {known[key].name}: {found['prepared']} + {found['seconds']} s", flush=True)


def compare(data: Path) -> str:
    """How far validation accuracies after the first epoch differ between the devices."""
    pairs = []
    for name in TASKS:
        known = stored.times(data / name)
        for cell in stored.accelerated(data / name):
            here = known.get(cell.strategy.key(), {}).get("validation", ())
            if cell.seed == 0 and here and cell.validation:
                pairs.append((here[0], cell.validation[0]))
    apart = [there - here for here, there in pairs]
    return (
        f"{len(pairs)} strategies, validation accuracy after an epoch on the accelerator minus on the processor: "
        f"mean {statistics.fmean(apart):+.4f}, mean size {statistics.fmean(map(abs, apart)):.4f}, "
        f"correlation {statistics.correlation(*map(list, zip(*pairs, strict=True))):.3f}"
    )


def main() -> None:
    warnings.simplefilter("ignore")
    parser = arguments(__doc__)
    parser.add_argument("--compare", action="store_true", help="train nothing")
    asked = parser.parse_args()
    if not any(stored.accelerated(asked.data / task) for task in asked.tasks):
        parser.error(
            f"--data must be a recording with cells of an accelerator (record.py --device cuda), got {asked.data}"
        )
    if asked.compare:
        print(compare(asked.data))
        return
    check_photos(parser, asked)
    torch.set_num_threads(1)
    recorder, yardstick = Recorder(asked.data, asked.photos), Yardstick()
    for name in asked.tasks:
        time_task(recorder, asked.data, name, yardstick)


if __name__ == "__main__":
    main()
