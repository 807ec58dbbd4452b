"""What it brings to judge a network that trained on crops on larger images than these (Touvron et al. 2019, FixRes).

    python benchmarks/photos/judged.py --photos FOLDER [--tasks clothing stamps] [--scales 1.25 1.5]
    python benchmarks/photos/judged.py --table

The first answer that trains the whole network is trained once on crops of 128 pixels, and its weights are then judged
on images of 128 pixels and of so many times as many, decoded in the files' detail. Lines go to
`recorded/judged.jsonl`; nothing is chosen by test.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))
import torch
from refit import SOURCE, loaded, strategy
from tasks import TASKS, check, lines_of

from automl_transfer.domain.horizon import Horizon
from automl_transfer.models.registry import get_source
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.making import make_run, train_to_the_end

RECORDED = Path(__file__).resolve().parent / "recorded" / "judged.jsonl"


def record(name: str, photos: Path | None, pixels: int, scales: list[float], epochs: int, seed: int) -> None:
    """Train once, judge at every scale, keep a line."""
    task = loaded(name, seed, photos, pixels)
    chosen = strategy("whole", task)
    run = make_run(
        chosen, task, get_source(SOURCE).load(task.task.channels), horizon=Horizon(epochs), seed=seed,
        device=torch.device("cpu"),
    )  # fmt: skip
    train_to_the_end(run)
    found: dict[str, Any] = {"task": name, "seed": seed, "pixels": pixels, "epochs": epochs}
    for scale in (1.0, *scales):
        seen = task.read_by(chosen.model_copy(update={"resolution_scale": scale, "detail": True}))
        if scale > 1.0 and not seen.detail:
            continue  # the files have no more pixels
        for split in ("validation", "test"):
            rows = seen.indices[split]
            logits = predict_logits(run.model, seen.images, rows, run.plan.normaliser(run.device), run.device)
            right = scores(logits, task.labels[rows], len(task.task.classes)).accuracy
            found[f"{split} x{scale:g}"] = round(right, 4)
    print(json.dumps(found), flush=True)
    with RECORDED.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(found) + "\n")


def told() -> str:
    """A Markdown table: test accuracy at each scale, and what validation has; then mean gains."""
    lines = lines_of(RECORDED)
    scales = sorted({key.split(" x")[1] for line in lines for key in line if " x" in key}, key=float)
    rows = [
        "| task | seed | " + " | ".join(f"test, x{each} (validation)" for each in scales) + " |",
        "|---" * (2 + len(scales)) + "|",
    ]
    gains: dict[str, list[float]] = {scale: [] for scale in scales}
    for line in sorted(lines, key=lambda line: (list(TASKS).index(line["task"]), line["seed"])):
        cells = []
        for scale in scales:
            if f"test x{scale}" not in line:
                cells.append("-")
                continue
            cells.append(f"{line[f'test x{scale}']:.4f} ({line[f'validation x{scale}']:.4f})")
            gains[scale].append(100 * (line[f"test x{scale}"] - line["test x1"]))
        rows.append(f"| `{line['task']}` | {line['seed']} | " + " | ".join(cells) + " |")
    told_gains = [
        f"x{scale}: mean {statistics.fmean(each):+.2f} points, least {min(each):+.2f} (n = {len(each)})"
        for scale, each in gains.items()
        if each and scale != "1"
    ]
    return "\n".join([*rows, "", *told_gains])


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="the folder that holds clothing/, signs/ and tiles/")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.25, 1.5])
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--table", action="store_true", help="train nothing")
    asked = parser.parse_args()
    if not asked.table:
        check(parser, asked, asked.tasks, "pixels", "epochs")
        if not all(1.0 < scale <= 4.0 for scale in asked.scales):
            parser.error(f"--scales must be above 1, at most 4, got {asked.scales}: 1 is judged anyway")
        if min(asked.seeds) < 0:
            parser.error(f"--seeds must be whole numbers from 0 on, got {asked.seeds}")
        known = {(line["task"], line["pixels"], line["seed"]) for line in lines_of(RECORDED)}
        for name in asked.tasks:
            for seed in asked.seeds:
                if (name, asked.pixels, seed) not in known:
                    record(name, asked.photos, asked.pixels, asked.scales, asked.epochs, seed)
    print(told())


if __name__ == "__main__":
    main()
