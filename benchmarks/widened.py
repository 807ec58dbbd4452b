"""Which solved head to ship where few images validate: by these alone, or by leave-one-out on training images too.

    python benchmarks/widened.py [digits mnist5k ...] [--seeds 100]

A head that is solved can be judged on every image without another training: leave-one-out over training and
validation images together has four times as many images as the default split validates on. Each line has heads
on cuts and grids of EfficientNet-Lite0, on images as they are and twice as large, drawn splits (three parts
train, one validates), and the rest of the images as the test. Regret is the test accuracy, in points, of the
head that would have been best, less that of the one chosen: by validation accuracy (ties by calibrated
cross-entropy), by leave-one-out on training images (what a profile chooses by), by leave-one-out on both, and by
what a search does: the three best by validation, then four fresh splits of the same images each. `both, then
confirmed` takes the three best by leave-one-out instead. Intervals: 95% of the mean over splits.

The second table has four solved heads beside four strategies that train, from recorded answers (`bits.py`).
These have only validation images, so they are compared with solved heads on these alone: leave-one-out puts
solved heads in order, and how much easier the validation images are for these is added to the others' scores
(least squares of strategy + image). Then the race of a search confirms the three best.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import torch
from bits import SOLVED, load
from confirmation import Bits, panel_of, race, runs_of

from automl_transfer.data.task import load_task
from automl_transfer.domain.normalisation import chosen_constants
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.models.registry import get_source
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.calibration import calibrated_nll
from automl_transfer.training.feature_bank import build_bank, folded_groups
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.ridge import Ridge, standardisation

CUTS, POOLS, SCALES = (5, 6, 7, 8), (1, 2), (1.0, 2.0)
PENALTIES = (0.01, 0.1, 1.0, 10.0)
MOST = 1800
VALIDATE, TRAIN, CANDIDATES, RUNS = (25, 50, 100), 3, 3, 4
WAYS = ("validation", "loo, training", "loo, both", "confirmed", "both, then confirmed")


def heads_of(dataset: str) -> tuple[list[torch.Tensor], torch.Tensor, int]:
    """Features of each head for some images, their labels, and how many classes there are."""
    task = load_task(TaskSpec(dataset=dataset, resolution=32))
    rows = np.sort(np.random.default_rng(0).permutation(len(task.labels))[:MOST])
    backbone = get_source("efficientnet-lite0").load(task.task.channels).eval()
    device = torch.device("cpu")
    constants = chosen_constants("source", task.task, backbone.mean, backbone.std)
    normalise = Normaliser(*(constants or (None, None)), device)
    backbone = backbone.to(memory_format=torch.channels_last)
    found = []
    for scale in SCALES:
        bank = build_bank(
            backbone, task, normalise, rows, scale, MemoryCache(0),
            lambda: folded_groups(backbone, task, normalise, rows),
        )  # fmt: skip
        read = {cell for cut, pool in itertools.product(CUTS, POOLS)
                for cell in bank.parts(cut, pool, 1) or ()}  # fmt: skip
        found += [bank.features([cell]) for cell in sorted(read)]
    return found, torch.from_numpy(task.labels[rows].astype(np.int64)), len(task.task.classes)


class Head:
    """One head on one split: what each way of choosing knows of it, and what it has on test."""

    def __init__(self, x: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
        self._x, self._labels, self._classes = x, labels, classes

    def answers(self, train: np.ndarray, others: np.ndarray, penalty: float) -> np.ndarray:
        """(n, C) scores of other images."""
        mean, scale = standardisation(self._x[train])
        x, z = (((self._x[rows].double() - mean) / scale) for rows in (train, others))
        targets = torch.nn.functional.one_hot(self._labels[train], self._classes).double()
        prior = targets.mean(0)
        kernel = x @ x.T + penalty * x.shape[1] * torch.eye(len(train), dtype=torch.float64)
        found: np.ndarray = (z @ (x.T @ torch.linalg.solve(kernel, targets - prior)) + prior).numpy()
        return found

    def leave_one_out(self, rows: np.ndarray, penalty: float | None = None) -> tuple[float, float, float]:
        """Accuracy, calibrated cross-entropy and penalty; the best penalty where none is given."""
        ridge = Ridge(self._x[rows], self._labels[rows], self._classes)
        score = min(ridge.scores(PENALTIES if penalty is None else [penalty]), key=lambda one: one.nll)
        return score.accuracy, score.nll, score.ridge_lambda

    def right(self, answers: np.ndarray, rows: np.ndarray) -> float:
        """Accuracy."""
        return float((answers.argmax(1) == self._labels[rows].numpy()).mean())

    def loss(self, answers: np.ndarray, rows: np.ndarray) -> float:
        """Calibrated cross-entropy."""
        found = calibrated_nll((5.0 * answers).astype(np.float32), self._labels[rows].numpy())
        return float("inf") if found is None else found


def regrets(heads: list[Head], images: int, validate: int, seed: int) -> dict[str, float]:
    """Of each way of choosing, on one split."""
    order = np.random.default_rng([seed, validate]).permutation(images)
    train, validation, test = np.split(order, [TRAIN * validate, (TRAIN + 1) * validate])
    both = order[: (TRAIN + 1) * validate]
    scores: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS[:3]}
    tested, penalties = [], []
    for head in heads:
        right, loss, penalty = head.leave_one_out(train)
        answers = head.answers(train, np.concatenate([validation, test]), penalty)
        scores["validation"].append(
            (head.right(answers[:validate], validation), -head.loss(answers[:validate], validation))
        )
        scores["loo, training"].append((right, -loss))
        right, loss, _ = head.leave_one_out(both, penalty)
        scores["loo, both"].append((right, -loss))
        tested.append(head.right(answers[validate:], test))
        penalties.append(penalty)

    def best(way: str, count: int) -> list[int]:
        return sorted(range(len(heads)), key=lambda at: scores[way][at], reverse=True)[:count]

    def confirmed(some: list[int]) -> int:
        blocks = np.array_split(np.random.default_rng([seed, 1]).permutation(both), RUNS)
        means = {}
        for at in some:
            rest = [np.setdiff1d(both, block) for block in blocks]
            means[at] = np.mean([
                heads[at].right(heads[at].answers(others, block, penalties[at]), block)
                for others, block in zip(rest, blocks, strict=True)
            ])  # fmt: skip
        return max(some, key=lambda at: means[at])

    chosen = {way: best(way, 1)[0] for way in WAYS[:3]}
    chosen["confirmed"] = confirmed(best("validation", CANDIDATES))
    chosen["both, then confirmed"] = confirmed(best("loo, both", CANDIDATES))
    return {way: 100.0 * (max(tested) - tested[at]) for way, at in chosen.items()}


def beside_trained(rng: np.random.Generator, bits: Bits, n: int, draws: int) -> str:
    """One line: regret by validation and by leave-one-out, alone and confirmed."""
    regret: dict[str, list[float]] = {"validation": [], "both": []}
    confirmed: dict[str, list[float]] = {"validation": [], "both": []}
    for _ in range(draws):
        heads = rng.choice(len(SOLVED), 4, replace=False)
        some = bits[np.concatenate([heads, np.arange(len(SOLVED), len(bits))])]
        solved = np.arange(len(some)) < len(heads)
        places, runs = rng.permutation(bits.shape[2]), rng.permutation(bits.shape[1])
        pool, seed = (TRAIN + 1) * n, int(rng.integers(2**31))
        truth = some[:, :, places[pool:]].mean(axis=(1, 2))
        first = some[:, runs[0]]
        validation = first[:, places[:n]].mean(axis=1) + 1e-9 * rng.random(len(some))
        both = first[:, places[:pool]].mean(axis=1)
        level = both[solved].mean() - validation[solved].mean()
        scores = {"validation": validation, "both": np.where(solved, both, validation + level)}
        for way, score in scores.items():
            best = np.argsort(-score)[:CANDIDATES]
            answers = some[best][:, runs[1 : RUNS + 1]][:, :, places[:pool]]
            raced = race(runs_of(np.random.default_rng(seed), answers, np.arange(pool) < n), CANDIDATES)
            regret[way].append(100.0 * float(truth.max() - truth[best[0]]))
            confirmed[way].append(100.0 * float(truth.max() - truth[best[panel_of(raced).order[0]]]))
    cells = []
    for found in (regret, confirmed):
        gained = np.array(found["validation"]) - np.array(found["both"])
        cells += [f"{np.mean(found[way]):.2f}" for way in found]
        cells.append(f"{gained.mean():+.2f} +- {1.96 * gained.std() / draws**0.5:.2f}")
    return f"{n} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="*", default=["digits", "mnist5k", "textures?patch=16"])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    print("| task, images that validate | heads | " + " | ".join(WAYS) + " |")
    print("|" + "---|" * (len(WAYS) + 2))
    for dataset in options.datasets:
        features, labels, classes = heads_of(dataset)
        heads = [Head(x, labels, classes) for x in features]
        for validate in VALIDATE:
            if 2 * (TRAIN + 1) * validate > len(labels):
                continue
            found = [regrets(heads, len(labels), validate, seed) for seed in range(options.seeds)]
            cells = []
            for way in WAYS:
                values = np.array([each[way] for each in found])
                cells.append(f"{values.mean():.2f} +- {1.96 * values.std() / len(values) ** 0.5:.2f}")
            print(f"| {dataset}, {validate} | {len(heads)} | " + " | ".join(cells) + " |", flush=True)
    print(
        "\n| task, images that validate | validation | both | gained | confirmed | both, confirmed | gained |"
    )
    print("|" + "---|" * 7)
    for name, bits in load().items():
        for n in (*VALIDATE, 200):
            line = beside_trained(np.random.default_rng(n), bits, n, options.draws)
            print(f"| {name}, {line}", flush=True)


if __name__ == "__main__":
    main()
