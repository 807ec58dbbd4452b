"""Records the table: learning curves of the same strategies on many small tasks, once, to be replayed often.

    python benchmarks/table/record.py --photos FOLDER [--tasks ...] [--seconds 3600]
    python benchmarks/table/record.py --pack          what is recorded so far, for the repository
    python benchmarks/table/record.py --status
    python benchmarks/table/record.py --device cuda ...   on an accelerator; then benchmarks/table/timing.py

A cell is one strategy on one task with one seed (of weights and order; the split is always the same): validation
accuracy and cross-entropy, test accuracy (to judge with, never to choose by) and seconds of every epoch. Stop it
whenever you like: cells are appended whole, and the same command goes on. Several processes may record at once;
each cell is recorded once.

Seconds are the CPU seconds of this process, which has one thread: the same on a machine that is busy. Nothing is
shared between cells: each passes its images through its frozen layers itself, where a search would keep them.
An accelerator's seconds are no measure for that: `timing.py` has a processor time what it trained.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))
import stored
import torch
from here import machine, processors
from images import GIVEN, TASKS, load, spec_of
from strategies import REPEATED, SEEDS, listed, strategy, told

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import NotANumberError, OutOfMemoryError
from automl_transfer.files import locked
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.search.first import FirstAnswers
from automl_transfer.search.workbench import Workbench, source_digests
from automl_transfer.space.study_file import preset_path, read_study
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.making import make_run
from automl_transfer.training.run import TrainingRun
from automl_transfer.training.state import showing

EPOCHS, IMAGES = 9, 5400
"""A trial's images, over all epochs: a third of what a search takes by default (500 steps of 32), so that the
whole table takes some hours. Strategies of any batch see as many."""
CPU = torch.device("cpu")
NAMES = {"profile": "profile", "profile, larger images": "larger", "profile, augmented views": "views",
         "profile, tuned": "tuned", "default": "default", "fine-tuned whole": "finetuned"}  # fmt: skip
"""What the search calls its first answers, and what the table does."""


def horizon_of(images: int) -> Horizon:
    """As many passes an epoch as come nearest to these images."""
    return Horizon(EPOCHS, passes=max(1, round(IMAGES / (EPOCHS * images))))


def first_answers(spec: TaskSpec, task: LoadedTask) -> dict[str, Any]:
    """What a search would try first on a task, in that order, and the CPU seconds until it knows."""
    settings = read_study(preset_path("quick")).space
    # With proposals of earlier tasks the default would wait for these.
    search = SearchSpec(max_epochs=EPOCHS, start="cold")
    study = StudySpec(name="table", task=spec, search=search, space=settings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with Store.open(StoreURL.parse(str(folder / "study.db"))) as store:
            handle = store.create_study(
                study, task.task, artifact_url=(folder / "a").as_posix(), sources=source_digests(study)
            )
            trials = Trials(store)
            bench = Workbench.open(handle, device="cpu", task=task, cache_root=folder / "cache")
            first = FirstAnswers(bench, trials)
            began = time.process_time()
            first.quick()
            quick = time.process_time()
            first.rest()
            rest = time.process_time()
            answers: dict[str, Any] = {}
            while (claim := trials.claim(handle, "recorder")) is not None:
                answers[NAMES[claim.label]] = told(claim.strategy)
    seconds = {"profile": round(quick - began, 2), "rest": round(rest - quick, 2)}
    return {"answers": answers, "answer_seconds": seconds}


def facts_of(name: str, spec: TaskSpec, task: LoadedTask) -> dict[str, Any]:
    """What `task.json` says: the task, its first answers, the horizon, the machine."""
    plain = task.task
    horizon = horizon_of(plain.splits.train)
    return {
        "task": name, "fingerprint": plain.fingerprint, "classes": len(plain.classes),
        "splits": plain.splits.model_dump(), "resolution": plain.resolution, "channels": plain.channels,
        "mirror": plain.may("mirror"), "horizon": dataclasses.asdict(horizon),
        **first_answers(spec, task), "cpu": (processors() or ["unknown"])[0], "torch": torch.__version__,
    }  # fmt: skip


class Yardstick:
    """How fast the machine is just now: a loaded one slows what it runs at once, in CPU seconds, too."""

    def __init__(self) -> None:
        layers = torch.nn.Conv2d(16, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3, padding=1)
        self._network = torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self._images = torch.rand(16, 16, 32, 32).contiguous(memory_format=torch.channels_last)

    def milliseconds(self) -> float:
        """CPU milliseconds of a fixed step, median of 15."""
        taken = []
        for _ in range(15):
            began = time.process_time()
            self._network(self._images).square().mean().backward()
            taken.append(1000 * (time.process_time() - began))
        return round(sorted(taken)[7], 2)


def record_cell(
    name: str, seed: int, chosen: Strategy, task: LoadedTask, backbone: Backbone, device: torch.device = CPU
) -> stored.Cell:
    """Train a strategy to the end of the horizon, and judge every epoch; of what fails, what there was."""
    began = time.process_time()
    curves: dict[str, list[float]] = {"seconds": [], "validation": [], "nll": [], "test": []}
    prepared, failed = 0.0, ""
    try:
        run = make_run(
            chosen, task, backbone, horizon=horizon_of(task.task.splits.train), seed=seed, device=device
        )
        now = time.process_time()
        prepared, began = now - began, now
        for result in run.epochs():
            curves["seconds"].append(time.process_time() - began)
            curves["validation"].append(result.accuracy)
            curves["nll"].append(result.validation_loss)
            curves["test"].append(test_accuracy(run))
            began = time.process_time()
    except (NotANumberError, OutOfMemoryError) as error:
        failed = type(error).__name__
    digits = {"seconds": 3, "validation": 5, "nll": 4, "test": 5}
    kept = {what: tuple(stored.rounded(curve, digits[what])) for what, curve in curves.items()}
    on = "" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return stored.Cell(name, seed, chosen, round(prepared, 3), failed=failed, device=on, **kept)


def test_accuracy(run: TrainingRun) -> float:
    """Of the weights that were judged last."""
    rows = run.task.indices["test"]
    with showing(run.plan.terms, run._moves):
        normalise = run.plan.normaliser(run.device)
        logits = predict_logits(run.model, run.task.images, rows, normalise, run.device)
    return scores(logits, run.task.labels[rows], len(run.task.task.classes)).accuracy


class Recorder:
    """Records cells that are missing.

    Args:
        data: The folder of the recording.
        photos: The folder that holds photographs.
        device: What trains.
    """

    def __init__(self, data: Path, photos: Path | None, device: torch.device = CPU) -> None:
        self._data, self._photos, self._device = data, photos, device
        self._yardstick = Yardstick()
        self._tasks: dict[str, LoadedTask] = {}
        self._answers: dict[str, dict[str, Strategy]] = {}
        self._backbones: dict[tuple[str, int], Backbone] = {}

    def task(self, name: str) -> LoadedTask:
        """A task's images; what is known of it is written where no process has done so."""
        if name not in self._tasks:
            folder = self._data / name
            folder.mkdir(parents=True, exist_ok=True)
            with locked(self._data / "task.lock"):
                spec = spec_of(name, self._data, self._photos)
                task = load(name, spec, self._data / "cache")
                if not (folder / "task.json").exists():
                    stored.write_whole(folder / "task.json", facts_of(name, spec, task))
            facts = json.loads((folder / "task.json").read_text(encoding="utf-8"))
            if facts["fingerprint"] != task.task.fingerprint:
                sys.exit(f"the images of {name} must be those that {folder} was recorded with, got others: "
                         "take the same ones, or another --data")  # fmt: skip
            self._tasks[name] = task
            self._answers[name] = {n: Strategy.model_validate(v) for n, v in facts["answers"].items()}
        return self._tasks[name]

    def strategy(self, name: str, task: str) -> Strategy | None:
        """A strategy of the list on a task; None where it begins at an answer that the task has not."""
        laid, loaded = listed()[name], self.task(task)
        answers = self._answers[task]
        return strategy(name, laid, answers, loaded.task) if laid[0] in answers else None

    def once(self, task: str, name: str, seed: int) -> stored.Cell | None:
        """Record a cell, unless it is there or another process is at it."""
        loaded, chosen = self.task(task), self.strategy(name, task)
        folder = self._data / task
        file = folder / (stored.CELLS if self._device == CPU else stored.ACCELERATED)
        if chosen is None:
            return None
        key = chosen.key(), seed

        def make() -> stored.Cell:
            backbone = self.backbone(chosen.source, loaded)
            cell = record_cell(name, seed, chosen, loaded, backbone, self._device)
            cell = dataclasses.replace(cell, yardstick=self._yardstick.milliseconds())
            stored.append(file, cell.document())
            return cell

        name_of_claim = f"{task}-{key[0]}-{seed}"
        return stored.claimed(
            self._data / "claims", name_of_claim, lambda: key in stored.keys_of(folder), make
        )

    def backbone(self, source: str, task: LoadedTask) -> Backbone:
        """A source's network, once a process."""
        key = (source, task.task.channels)
        if key not in self._backbones:
            self._backbones[key] = get_source(source).load(task.task.channels)
        return self._backbones[key]


def order(tasks: list[str]) -> Iterator[tuple[str, str, int]]:
    """Task, strategy and seed of every cell: the first strategies on all tasks, and repetitions at the end."""
    for name in listed():
        for task in tasks:
            yield task, name, 0
    for seed in range(1, SEEDS):
        for name in REPEATED:
            for task in tasks:
                yield task, name, seed


def pack_all(data: Path, target: Path) -> None:
    """The repository's files of what is there, and how much it is."""
    size = cells = 0
    for folder in sorted(path.parent for path in data.glob("*/task.json")):
        file = target / f"{folder.name}.json.gz"
        table = stored.pack(folder, file)
        size, cells = size + file.stat().st_size, cells + len(table.cells)
    print(f"packed {cells} cells into {size / 1000:.0f} kB")


def status(data: Path, tasks: list[str]) -> str:
    """How much there is, in one line a task, and about how much is left."""
    lines, there, trained = [], 0, list[float]()
    for task in tasks:
        cells = [*stored.cells_of(data / task / stored.CELLS), *stored.merged(data / task)]
        spent = [cell.spent for cell in cells]
        failed = sum(bool(cell.failed) for cell in cells)
        lines.append(f"{task}: {len(cells)} cells, {math.fsum(spent) / 60:.1f} CPU minutes, {failed} failed")
        there, trained = there + len(cells), trained + [each for each in spent if each > 5]
    every = sum(1 for _ in order(tasks))
    hours = (every - there) * math.fsum(trained) / max(1, len(trained)) / 3600
    return "\n".join([*lines, f"{there} of at most {every} cells, at most {hours:.1f} CPU hours left"])


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every command that needs the tasks' images takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="the folder that holds clothing/, signs/ and tiles/")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--data", type=Path, default=stored.DATA)
    return parser


def check_photos(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    """End with exit code 2 where photographs are wanted and their folder is not named."""
    if asked.photos is None and (without := [task for task in asked.tasks if task in GIVEN]):
        parser.error(
            f"{', '.join(without)} are photographs: give the folder that holds them with --photos FOLDER, "
            "or leave them out with --tasks"
        )


def main() -> None:
    warnings.simplefilter("ignore")
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no cell after so long")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--progress", type=Path, help="a file that always says how far it is")
    parser.add_argument("--pack", action="store_true", help="record nothing")
    parser.add_argument("--recorded", type=Path, default=stored.RECORDED)
    parser.add_argument("--status", action="store_true", help="record nothing")
    asked = parser.parse_args()
    if asked.pack:
        if not any(asked.data.glob("*/task.json")):
            parser.error(
                f"--data must be the folder of a recording, got {asked.data}: record something first"
            )
        pack_all(asked.data, asked.recorded)
        return
    if asked.status:
        print(status(asked.data, asked.tasks))
        return
    check_photos(parser, asked)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device must be there, got cuda, and this machine has none: take cpu")
    torch.set_num_threads(1)
    asked.data.mkdir(parents=True, exist_ok=True)
    print(machine(), flush=True)
    recorder = Recorder(asked.data, asked.photos, torch.device(asked.device))
    began, cells = time.monotonic(), list(order(asked.tasks))
    for number, (task, name, seed) in enumerate(cells):
        if time.monotonic() - began > asked.seconds:
            break
        if (cell := recorder.once(task, name, seed)) is None:
            continue
        told_now = (f"{datetime.now(UTC):%H:%M:%S} {number + 1}/{len(cells)} {task}, {name}, seed {seed}: "
                    f"{cell.spent:.1f} s, validation {max(cell.validation, default=0):.3f} {cell.failed}")  # fmt: skip
        print(told_now, flush=True)
        if asked.progress is not None:
            asked.progress.write_text(f"{told_now}\n{status(asked.data, asked.tasks)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
