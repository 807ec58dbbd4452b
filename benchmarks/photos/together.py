"""When is the mean of two networks better than the better one? The rule by which a search ships two.

    python benchmarks/photos/together.py --photos FOLDER --tasks clothing stamps     trains, and keeps the answers
    python benchmarks/photos/together.py --table                                     what the rules come to

On each task four strategies are trained once at 128 pixels: a solved head (`head`), the same on images 1.5 times as
large (`larger`), the upper half tuned on from it (`tuned`), and the whole network on crops under a fresh head
(`whole`). Their answers on validation and test images are kept in `recorded/together-TASK.npz`.

The table halves the validation images at random, many times. One half chooses the winner, a partner and the shares,
and says whether a rule ships both; the other half judges. Nothing is chosen by test; the last column says what each
rule, told by all validation images, comes to there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent))
import numpy as np
import numpy.typing as npt
import torch
from refit import SOURCE, loaded, strategy
from tasks import TASKS, check

from automl_transfer.api.composing import chosen_greedily
from automl_transfer.api.offers import BY_RULE, CLEARLY, likelier_by
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.registry import get_source
from automl_transfer.search.portfolio import PORTFOLIO
from automl_transfer.training.calibration import fit_temperature, log_likelihood, softmax
from automl_transfer.training.making import make_run, split_logits, train_to_the_end

RECORDED = Path(__file__).resolve().parent / "recorded"
HEAD = {"truncation": 7, "pool": 2, "taps": 6, "ridge_lambda": 0.1}
SOLVED = {"tune_mode": "closed_form", "head_init": "ridge", **HEAD}
STRATEGIES: dict[str, dict[str, Any]] = {
    "head": SOLVED,
    "larger": {**SOLVED, "resolution_scale": 1.5, "detail": True},
    "tuned": {**PORTFOLIO["upper half"], **HEAD},
}
NAMES = (*STRATEGIES, "whole")
HALVES = 500

Array = npt.NDArray[Any]
RULES: dict[str, Callable[[float, float], bool]] = {
    "never": lambda gain, errors: False,
    "clearly likelier (2 standard errors), and more right": lambda gain, errors: (
        gain > CLEARLY and errors > 0
    ),
    "clearly likelier, and no fewer right": lambda gain, errors: gain > CLEARLY and errors >= 0,
    "clearly likelier": lambda gain, errors: gain > CLEARLY,
    "likelier by 1 standard error": lambda gain, errors: gain >= 1,
    "likelier": lambda gain, errors: gain > 0,
    "always": lambda gain, errors: True,
}
"""Told by how many standard errors the mean is likelier than the winner, and how many more images it has right."""


def record(task_name: str, photos: Path | None, pixels: int) -> None:
    """Train the four, and keep their answers."""
    task = loaded(task_name, 0, photos, pixels)
    backbone, kept = get_source(SOURCE).load(task.task.channels), {}
    for name in NAMES:
        values = STRATEGIES.get(name)
        chosen = (
            strategy(name, task)
            if values is None
            else Strategy.model_validate({"source": SOURCE, **values}).canonical()
        )
        run = make_run(chosen, task, backbone, horizon=Horizon(9), seed=0, device=torch.device("cpu"))
        train_to_the_end(run)
        for split in ("validation", "test"):
            kept[f"{name}:{split}"] = split_logits(run, split).astype(np.float16)
            right = (kept[f"{name}:{split}"].argmax(1) == task.labels[task.indices[split]]).mean()
            print(f"{task_name}: {name}, {split} {right:.4f}", flush=True)
    labels = {split: task.labels[task.indices[split]] for split in ("validation", "test")}
    np.savez_compressed(RECORDED / f"together-{task_name}.npz", **kept, **labels)


class Chosen:
    """A winner, its partner and their shares, by some images; as `search --as auto` chooses."""

    def __init__(self, logits: dict[str, Array], labels: Array) -> None:
        self.heat = {name: fit_temperature(each, labels).temperature for name, each in logits.items()}
        right = {name: int((each.argmax(1) == labels).sum()) for name, each in logits.items()}
        loss = {name: -log_likelihood(each, labels, self.heat[name]).mean() for name, each in logits.items()}
        self.winner = max(logits, key=lambda name: (right[name], -loss[name]))
        names = list(logits)
        chosen = chosen_greedily(list(logits.values()), labels, begin=names.index(self.winner), most=BY_RULE)
        self.shares = {names[at]: share for at, share, _ in chosen}
        mean = self.mean(logits)
        self.gain = likelier_by(mean, logits[self.winner], labels)
        self.more_right = int((mean.argmax(1) == labels).sum()) - right[self.winner]

    def ships_two(self, says: Callable[[float, float], bool]) -> bool:
        """By a rule; never where no partner made the images that chose any likelier."""
        return len(self.shares) > 1 and says(self.gain, self.more_right)

    def mean(self, logits: dict[str, Array]) -> Array:
        """Of those that are chosen, as logits."""
        parts = [share * softmax(logits[name], self.heat[name]) for name, share in self.shares.items()]
        found: Array = np.log(np.maximum(sum(parts), 1e-30))
        return found

    def accuracy(self, both: bool, logits: dict[str, Array], labels: Array) -> float:
        """Of what ships."""
        shipped = self.mean(logits) if both else logits[self.winner]
        return float((shipped.argmax(1) == labels).mean())


def told() -> str:
    """A Markdown table, over the tasks that are recorded."""
    rows = [
        "| rule | ships two | points over the winner, unseen validation | least, on | test |",
        "|---" * 5 + "|",
    ]
    files = sorted(RECORDED.glob("together-*.npz"))
    gains: dict[str, dict[str, list[float]]] = {rule: {} for rule in RULES}
    shipped: dict[str, list[bool]] = {rule: [] for rule in RULES}
    test: dict[str, list[float]] = {rule: [] for rule in RULES}
    for file in files:
        name, read = file.stem.removeprefix("together-"), np.load(file)
        answers = {s: {n: read[f"{n}:{s}"].astype(np.float32) for n in NAMES} for s in ("validation", "test")}
        labels, random = read["validation"], np.random.default_rng(0)
        for _ in range(HALVES):
            order = random.permutation(len(labels))
            one, other = order[: len(order) // 2], order[len(order) // 2 :]
            chosen = Chosen({n: each[one] for n, each in answers["validation"].items()}, labels[one])
            unseen = {n: each[other] for n, each in answers["validation"].items()}
            alone, both = (chosen.accuracy(two, unseen, labels[other]) for two in (False, True))
            for rule, says in RULES.items():
                two = chosen.ships_two(says)
                gains[rule].setdefault(name, []).append(100 * (both - alone) * two)
                shipped[rule].append(two)
        chosen = Chosen(answers["validation"], labels)
        alone, both = (chosen.accuracy(two, answers["test"], read["test"]) for two in (False, True))
        for rule, says in RULES.items():
            test[rule].append(100 * (both - alone) * chosen.ships_two(says))
        print(
            f"{name}: {chosen.winner} {alone:.4f} on test, "
            f"{' and '.join(f'{share:.2f} of {each}' for each, share in chosen.shares.items())} {both:.4f}; "
            f"on validation likelier by {chosen.gain:.1f} standard errors, "
            f"{chosen.more_right:+d} right"
        )
    for rule, found in gains.items():
        means = {name: statistics.fmean(each) for name, each in found.items()}
        worst = min(means, key=lambda name: means[name])
        rows.append(
            f"| {rule} | {statistics.fmean(shipped[rule]):.0%} | {statistics.fmean(means.values()):+.2f} | "
            f"{means[worst]:+.2f}, {worst} | {statistics.fmean(test[rule]):+.2f} |"
        )
    return "\n".join(rows)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="the folder that holds clothing/, signs/ and tiles/")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--table", action="store_true", help="train nothing")
    asked = parser.parse_args()
    if not asked.table:
        check(parser, asked, asked.tasks, "pixels")
        for name in asked.tasks:
            if not (RECORDED / f"together-{name}.npz").exists():
                record(name, asked.photos, asked.pixels)
    print(told())


if __name__ == "__main__":
    main()
