"""fastai's `fine_tune` with its default augmentation, for as many epochs as fit the minutes.

fastai is none of the project's dependencies: `pip install fastai` into the environment that runs this.
The same network, weights and splits; the whole picture squashed to a square, as for the other peers. An epoch
with the body frozen, then the rest, as `fine_tune` does; of all epochs the best on validation is kept.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
from cell import MEAN, STD, Cell, begin, rows_of
from lite0 import ARCHITECTURE, pretrained

HOW = "fastai is needed for this arm and is none of the project's dependencies: pip install fastai"
TIMED_STEPS, WARM, MARGIN = 8, 2, 0.97

try:
    import pandas as pd
    from fastai.vision import all as fastai
except ImportError as missing:
    sys.exit(f"{HOW} (missing here: {missing.name})")


class Judged(fastai.Callback):
    """Judges each epoch as the other peers are judged."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def after_epoch(self) -> None:
        with self.cell.clock.stopped():  # fastai has just done so itself
            self.cell.judge(self.learn.model)


def learner(cell: Cell) -> fastai.Learner:
    """As a person would write it; only the weights come from the package."""
    rows = [row for row in rows_of(cell.options.table) if row["split"] != "test"]
    frame = pd.DataFrame({
        "file": [row["file"] for row in rows], "label": [row["label"] for row in rows],
        "validation": [row["split"] == "validation" for row in rows],
    })  # fmt: skip
    flips = cell.options.flips
    pixels = cell.options.resolution
    loaders = fastai.ImageDataLoaders.from_df(
        frame, path=cell.options.images, valid_col="validation", seed=cell.options.seed,
        item_tfms=fastai.Resize(pixels, method=fastai.ResizeMethod.Squish),
        batch_tfms=[
            *fastai.aug_transforms(do_flip="mirror" in flips, flip_vert="rotate" in flips),
            fastai.Normalize.from_stats([MEAN] * 3, [STD] * 3),
        ],
        num_workers=0,  # forked readers beside two OpenMP threads stood still
        bs=min(64, sum(not value for value in frame["validation"])),
    )  # fmt: skip
    assert list(loaders.vocab) == cell.classes
    made = fastai.vision_learner(
        loaders, ARCHITECTURE, pretrained=False, normalize=False, metrics=fastai.accuracy
    )
    whole = pretrained(3, len(cell.classes)).state_dict()
    body = made.model[0].model
    body.load_state_dict({name: whole[name] for name in body.state_dict()})
    return made


def fitting(cell: Cell, made: fastai.Learner) -> int:
    """Epochs that fit the time that is left beside the frozen one, by some steps without an effect."""
    made.unfreeze()
    made.model.train()
    times: list[float] = []
    while len(times) < TIMED_STEPS:
        began = time.perf_counter()
        for images, labels in made.dls.train:
            made.loss_func(made.model(images), labels).backward()
            made.model.zero_grad()
            times.append(time.perf_counter() - began)
            began = time.perf_counter()
            if len(times) >= TIMED_STEPS:
                break
    cell.squashed("validation")
    began = time.perf_counter()
    cell.logits(made.model, "validation")
    judged = time.perf_counter() - began
    epoch = len(made.dls.train) * sum(times[WARM:]) / len(times[WARM:]) + judged
    return max(1, int(MARGIN * cell.left() / epoch - 0.5))  # a frozen epoch costs about half


def main() -> None:
    cell = begin()
    fastai.set_seed(cell.options.seed)
    made = learner(cell)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    epochs = fitting(cell, made)
    made.model.load_state_dict(before)  # the timed steps moved the running statistics
    with made.no_bar(), made.no_logging():
        made.fine_tune(epochs, cbs=Judged(cell))
    assert cell.kept is not None
    made.model.load_state_dict(cell.kept)
    with cell.clock.stopped():
        predicted = cell.logits(made.model, "test").argmax(1)
    cell.finish(predicted, epochs=epochs)


if __name__ == "__main__":
    main()
