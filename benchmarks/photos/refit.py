"""What it brings to train the winner on the validation images as well, before it ships.

    python benchmarks/photos/refit.py --photos FOLDER --task clothing --strategies whole [--epochs 9] [--seeds 2]
        [--device cuda] [--pixels 128]
    python benchmarks/photos/refit.py --table            what is recorded, in Markdown

A strategy is a recipe of the portfolio under the network's last layer, or `head`: what the profile solves, cut after
five of eight groups; `last`: on the last features. Each is trained twice with one seed: on the training images, and
on these and the validation images; both are judged on test. Lines go to `recorded/refit.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))
import torch
from here import processors
from tasks import TASKS, check, lines_of, table

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.search.portfolio import PORTFOLIO
from automl_transfer.training.evaluate import scores
from automl_transfer.training.making import make_run, split_logits, train_to_the_end

RECORDED = Path(__file__).resolve().parent / "recorded" / "refit.jsonl"
SOURCE = "efficientnet-lite0"
SOLVED: dict[str, dict[str, Any]] = {
    "head": {"truncation": 5, "pool": 4, "taps": 3, "ridge_lambda": 0.316},
    "last": {"truncation": 8, "pool": 1, "taps": 1, "ridge_lambda": 10.0},
}


def strategy(name: str, task: LoadedTask) -> Strategy:
    """On a task; mirrored only where that changes no class."""
    if name in SOLVED:
        values = {"tune_mode": "closed_form", "head_init": "ridge", **SOLVED[name]}
    else:
        values = {**PORTFOLIO[name], "mirror": task.task.may("mirror")}
    return Strategy.model_validate({"source": SOURCE, **values}).canonical()


def trained(
    chosen: Strategy, task: LoadedTask, backbone: Backbone, asked: argparse.Namespace, seed: int, refit: bool
) -> dict[str, float]:
    """Accuracies, and seconds."""
    began = time.perf_counter()
    run = make_run(
        chosen, task, backbone, horizon=Horizon(asked.epochs), seed=seed, device=torch.device(asked.device),
        refit=refit,
    )  # fmt: skip
    train_to_the_end(run, stop_after=asked.epochs if chosen.tune_mode != "closed_form" else None)
    found = {"seconds": round(time.perf_counter() - began, 1)}
    for split in ("test",) if refit else ("validation", "test"):
        rows = task.indices[split]
        logits = split_logits(run, split)
        found[split] = round(scores(logits, task.labels[rows], len(task.task.classes)).accuracy, 4)
    return found


def loaded(name: str, seed: int, photos: Path | None, pixels: int, cache: Path | None = None) -> LoadedTask:
    """A task by this seed's splits, at so many pixels."""
    file, root = table(name, seed, photos)
    spec = TaskSpec(
        dataset=str(file), images=str(root), label_preserving=TASKS[name].flips, resolution=pixels,
        on_bad_image="skip",
    )  # fmt: skip
    return load_task(spec, cache_root=cache)


def told() -> str:
    """A Markdown table: means over seeds, and of their differences the least and the most."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in lines_of(RECORDED):
        groups[line["task"], line["strategy"], line["epochs"]].append(line)
    rows = ["| task | strategy | n | test, without | with | gain, points |", "|---|---|---|---|---|---|"]
    gains = []
    for (task, name, epochs), found in sorted(groups.items()):
        gain = [100 * (line["refit"]["test"] - line["plain"]["test"]) for line in found]
        gains.append(statistics.fmean(gain))
        without, with_ = (statistics.fmean(line[way]["test"] for line in found) for way in ("plain", "refit"))
        spread = f" ({min(gain):+.1f} to {max(gain):+.1f})" if len(gain) > 1 else ""
        what = name if name in SOLVED else f"{name}, {epochs} epochs"
        rows.append(
            f"| {task} | {what} | {len(found)} | {without:.3f} | {with_:.3f} | {gains[-1]:+.1f}{spread} |"
        )
    ahead = sum(gain > 0 for gain in gains)
    return "\n".join(
        [*rows, "", f"mean {statistics.fmean(gains):+.2f} points, ahead in {ahead} of {len(gains)}"]
    )


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="the folder that holds clothing/, signs/ and tiles/")
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--strategies", nargs="+", choices=[*SOLVED, *PORTFOLIO], default=list(SOLVED))
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--table", action="store_true", help="train nothing")
    asked = parser.parse_args()
    if asked.table:
        print(told())
        return
    if asked.task is None:
        parser.error("--task must say whose images, or --table that nothing is trained, got neither")
    check(parser, asked, [asked.task], "epochs", "seeds", "pixels")
    task = loaded(asked.task, 0, asked.photos, asked.pixels, asked.cache)
    backbone = get_source(SOURCE).load(task.task.channels)
    cpu = asked.device == "cpu"
    device = (processors() or ["unknown"])[0] if cpu else torch.cuda.get_device_name(asked.device)
    for name in asked.strategies:
        for seed in range(1 if name in SOLVED else asked.seeds):
            chosen = strategy(name, task)
            ways = {
                way: trained(chosen, task, backbone, asked, seed, way == "refit")
                for way in ("plain", "refit")
            }
            line = {"task": asked.task, "strategy": name, "epochs": asked.epochs, "seed": seed,
                    "pixels": asked.pixels, "device": device, **ways}  # fmt: skip
            with RECORDED.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
