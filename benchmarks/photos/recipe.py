"""Plain fine-tuning without a search: 10 epochs (`recipe10`), or as many as fit the minutes (`recipe`).

The whole network, AdamW 1e-3 with decay .05 on matrices only, batches of 32, a linear warm-up over the first
tenth of the steps and a cosine, random resized crops (.5 to 1 of the picture) from its own pixels, flips
where they leave the class as it is, label smoothing .1. Of its epochs the best on validation is kept.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import torch
from cell import Cell, begin, normalised
from lite0 import pretrained
from torch import Tensor, nn
from torchvision.transforms import v2

TIMED_STEPS, WARM = 8, 2
MARGIN = 0.97
"""Of the time that is left, what the epochs may be expected to take."""


@dataclass(frozen=True)
class Recipe:
    """What can be chosen of it."""

    epochs: int = 10
    rate: float = 1e-3
    decay: float = 0.05
    batch: int = 32
    smoothing: float = 0.1
    crop: float = 0.5


class Training:
    """One model that is trained by a recipe."""

    def __init__(self, cell: Cell, recipe: Recipe, model: nn.Module) -> None:
        self.cell, self.recipe, self.model = cell, recipe, model
        self.images = cell.splits["train"]
        self.batch = min(recipe.batch, len(self.images.labels))
        self.steps = len(self.images.labels) // self.batch
        pixels = cell.options.resolution
        changes: list[v2.Transform] = [v2.RandomResizedCrop(pixels, scale=(recipe.crop, 1.0), antialias=True)]
        if "mirror" in cell.options.flips:
            changes.append(v2.RandomHorizontalFlip())
        if "rotate" in cell.options.flips:
            changes.append(v2.RandomVerticalFlip())
        self.change = v2.Compose(changes)
        matrices = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.rate,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._share)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)

    def _share(self, step: int) -> float:
        """Of the rate."""
        whole = self.recipe.epochs * self.steps
        warm = max(1, whole // 10)
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, whole - warm))))

    def batches(self) -> Iterator[Tensor]:
        """Numbers of images; those of an incomplete batch wait for the next epoch's order."""
        return iter(torch.randperm(len(self.images.labels)).split(self.batch)[: self.steps])

    def step(self, rows: Tensor) -> None:
        """One step, on images that are drawn anew."""
        self.model.train()
        images = torch.stack([self.change(self.images.pictures[row]) for row in rows.tolist()])
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(self.model(normalised(images)), self.images.labels[rows]).backward()
        self.optimizer.step()
        self.schedule.step()

    def run(
        self, on_epoch: Callable[[int, float], None] = lambda epoch, value: None, *, until_spent: bool = False
    ) -> None:
        """All epochs, each judged on validation; with `until_spent`, until the cell's minutes are over."""
        for epoch in range(1, self.recipe.epochs + 1):
            for rows in self.batches():
                if until_spent and self.cell.left() <= 0:
                    return
                self.step(rows)
            on_epoch(epoch, self.cell.judge(self.model))


def base_of(cell: Cell) -> nn.Module:
    """The network with its ImageNet weights and a new classifier."""
    return pretrained(3, len(cell.classes)).to(memory_format=torch.channels_last)


def fitting(cell: Cell, base: nn.Module) -> int:
    """Epochs that fit the time that is left, by some steps of a copy."""
    trial = Training(cell, Recipe(epochs=1000), copy.deepcopy(base))
    times: list[float] = []
    while len(times) < TIMED_STEPS:
        for rows in trial.batches():
            began = time.perf_counter()
            trial.step(rows)
            times.append(time.perf_counter() - began)
    cell.squashed("validation")
    began = time.perf_counter()
    cell.logits(trial.model, "validation")
    epoch = trial.steps * sum(times[WARM:]) / len(times[WARM:]) + time.perf_counter() - began
    return max(1, int(MARGIN * cell.left() / epoch))


def main() -> None:
    cell = begin()
    base = base_of(cell)
    epochs = 10 if cell.options.arm == "recipe10" else fitting(cell, base)
    Training(cell, Recipe(epochs=epochs), base).run()
    assert cell.kept is not None
    base.load_state_dict(cell.kept)
    with cell.clock.stopped():
        predicted = cell.logits(base, "test").argmax(1)
    cell.finish(predicted, epochs=epochs)


if __name__ == "__main__":
    main()
