"""What the peers' processes share: a table's images, scores, and the file that a cell leaves.

Nothing of automl-transfer. Images are decoded once and kept as they are; the whole picture is squashed to a
square where it is judged. The test split is looked at with the clock stopped.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import sys
import warnings
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import numpy as np
import torch
from clock import Clock
from here import machine
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as T

MEAN = STD = 0.5
"""By which the network's images were normalised when it was pretrained."""


@dataclass
class Split:
    """Pictures (uint8, 3 x height x width, each of its own size) and their class numbers."""

    pictures: list[Tensor]
    labels: Tensor

    def squashed(self, pixels: int) -> Tensor:
        """All of them, whole, as n x 3 x pixels x pixels uint8."""
        return torch.stack([T.resize(p, [pixels, pixels], antialias=True) for p in self.pictures])


@dataclass
class Cell:
    """A cell under way: what it was asked, its images, its clock, and the incumbent of its own search."""

    options: argparse.Namespace
    clock: Clock
    classes: list[str]
    splits: dict[str, Split]
    curve: list[dict[str, float]] = field(default_factory=list)
    best: tuple[float, float] | None = None
    kept: dict[str, Tensor] | None = None
    _squashed: dict[str, Tensor] = field(default_factory=dict)

    @property
    def budget(self) -> float:
        """Seconds."""
        return 60.0 * self.options.minutes

    def left(self) -> float:
        """Seconds until the budget is spent."""
        return self.budget - self.clock.now()

    def squashed(self, split: str) -> Tensor:
        """A split's images at the cell's resolution; made once."""
        if split not in self._squashed:
            self._squashed[split] = self.splits[split].squashed(self.options.resolution)
        return self._squashed[split]

    def logits(self, model: nn.Module, split: str) -> Tensor:
        """A model's answers."""
        model.eval()
        with torch.no_grad():
            return torch.cat([model(normalised(x)) for x in self.squashed(split).split(64)])

    def judge(self, model: nn.Module) -> float:
        """Validation accuracy. A model that is the best so far is kept, and looked at on test for the curve."""
        logits, labels = self.logits(model, "validation"), self.splits["validation"].labels
        value = share(logits.argmax(1) == labels)
        loss = float(nn.functional.cross_entropy(logits, labels))
        if self.best is None or (value, -loss) > self.best:
            self.best = (value, -loss)
            self.kept = copy.deepcopy(model.state_dict())
            reached = self.clock.now()
            with self.clock.stopped():
                hits = self.logits(model, "test").argmax(1) == self.splits["test"].labels
            self.curve.append({"seconds": reached, "validation": value, "test": share(hits)})
        return value

    def finish(self, predicted: Tensor, **facts: Any) -> None:
        """Write the cell: scores of the chosen model on test, its curve, what it ran on."""
        seconds = self.clock.now()
        write(self.options.output, {
            "arm": self.options.arm, "task": self.options.task, "seed": self.options.seed,
            "minutes": self.options.minutes, "seconds": seconds, "curve": self.curve,
            "final": scores(predicted, self.splits["test"].labels), **facts, "machine": machine(),
            "versions": versions("torch", "torchvision", "timm", "optuna", "fastai", "scikit-learn"),
        })  # fmt: skip


def normalised(images: Tensor) -> Tensor:
    """uint8 to what the network takes."""
    return ((images.float() / 255.0 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def share(hits: Tensor) -> float:
    """Of them; exactly, because others are compared with it."""
    return int(hits.sum()) / len(hits)


def scores(predicted: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, balanced accuracy (mean recall) and macro F1 over the classes that are there."""
    recalls, f1s = [], []
    for one in labels.unique():
        hits = int(((predicted == one) & (labels == one)).sum())
        there, said = int((labels == one).sum()), int((predicted == one).sum())
        recalls.append(hits / there)
        f1s.append(2 * hits / (there + said))
    return {
        "accuracy": share(predicted == labels), "balanced_accuracy": float(np.mean(recalls)),
        "macro_f1": float(np.mean(f1s)), "n": len(labels),
    }  # fmt: skip


def versions(*packages: str) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write(file: Path, found: dict[str, Any]) -> None:
    """A cell that is there is whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


def options() -> argparse.Namespace:
    """What photos.py says to every arm's process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("arm")
    parser.add_argument("task")
    parser.add_argument("seed", type=int)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--flips", nargs="*", default=[])
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def rows_of(table: Path) -> list[dict[str, str]]:
    """The table's rows."""
    with table.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def begin() -> Cell:
    """A peer's cell: its options, and its images in memory."""
    warnings.simplefilter("ignore")
    clock, asked = Clock(), options()
    torch.manual_seed(asked.seed)
    rows = rows_of(asked.table)
    classes = sorted({row["label"] for row in rows})
    splits = {}
    for split in ("train", "validation", "test"):
        some = [row for row in rows if row["split"] == split]
        labels = torch.tensor([classes.index(row["label"]) for row in some])
        splits[split] = Split([_read(asked.images / row["file"]) for row in some], labels)
    return Cell(asked, clock, classes, splits)


def _read(file: Path) -> Tensor:
    with Image.open(file) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
