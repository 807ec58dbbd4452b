"""Three ways of solving a head where classes are of very different sizes, by the metrics that count them alike.

    python benchmarks/balanced.py [--noise 0 2 4] [--seeds 8]

On mnist5k at 32 pixels, features of EfficientNet-Lite0 after five groups (2x2), with noise of so many standard
deviations: `plain` ridge, its logits minus the logarithm of the class frequencies (`prior`), and ridge in which
images count N / (C n_c) times, its penalty too (`weighted`). 400 training images of two classes, one of them 5%,
and 600 of ten whose sizes fall by a third each. Balanced accuracy is of 300 images a class, macro F1 of 400 images
in the shares of training; means over seeds.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor

from automl_transfer.data.task import load_task
from automl_transfer.data.weights import balanced
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.models.registry import get_source
from automl_transfer.training.evaluate import scores
from automl_transfer.transfer.counting import Counting
from automl_transfer.transfer.features import forward_rows
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.ridge import Ridge
from automl_transfer.transfer.ridge_at import ridge_head

WAYS = ("plain", "prior", "weighted")
FALLING = 0.63 ** np.arange(10.0)
CASES = {
    "two classes, 5%": (([3, 5, 8], [9]), np.array([0.95, 0.05]), 400),
    "ten, falling": (tuple([digit] for digit in range(10)), FALLING / FALLING.sum(), 600),
}


def features(noise: float) -> tuple[Tensor, np.ndarray]:
    """Of all digits, and their labels."""
    task = load_task(TaskSpec(dataset="mnist5k", resolution=32))
    backbone = get_source("efficientnet-lite0").load(1).eval()

    def pooled(x: Tensor) -> Tensor:
        for group in list(backbone.groups)[:5]:
            x = group(x)
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)

    normalise = Normaliser((0.5,), (0.5,), torch.device("cpu"))
    found = forward_rows(pooled, task.images, np.arange(len(task.labels)), normalise)
    drawn = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    return found + noise * found.std(0) * drawn, np.asarray(task.labels)


def judged(x: Tensor, digits: np.ndarray, case: str, seed: int) -> list[float]:
    """Balanced accuracy and macro F1 of each way."""
    members, shares, images = CASES[case]
    random = np.random.default_rng(seed)
    mixed = [random.permutation(np.flatnonzero(np.isin(digits, each))) for each in members]
    counts = np.maximum(3, (images * shares).astype(int))
    fitting = [rows[:count] for rows, count in zip(mixed, counts, strict=True)]
    rest = [rows[count:] for rows, count in zip(mixed, counts, strict=True)]
    alike = [rows[:300] for rows in rest]
    natural = [rows[: int(400 * share) + 1] for rows, share in zip(rest, shares, strict=True)]
    labels = np.repeat(np.arange(len(members)), [len(rows) for rows in fitting])
    train, targets = np.concatenate(fitting), torch.from_numpy(labels)
    weights = torch.from_numpy(balanced(labels, len(members))[labels])
    found = []
    for way in WAYS:
        counting = Counting(weights if way == "weighted" else None)
        penalty = Ridge(x[train], targets, len(members), counting).best().ridge_lambda
        weight, bias = ridge_head(x[train], targets, len(members), penalty, 1, counting)
        if way == "prior":
            bias = bias - torch.from_numpy(np.log(np.bincount(labels) / len(labels)))
        for rows, metric in ((alike, "balanced_accuracy"), (natural, "macro_f1")):
            logits = (x[np.concatenate(rows)].double() @ weight.T + bias).numpy()
            truth = np.repeat(np.arange(len(members)), [len(each) for each in rows])
            found.append(float(getattr(scores(logits, truth, len(members)), metric)))
    return found


def main() -> None:
    """Print a row for each case and noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 2.0, 4.0])
    parser.add_argument("--seeds", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':28}balanced accuracy: {', '.join(WAYS)}   macro F1: {', '.join(WAYS)}")
    for noise in asked.noise:
        x, digits = features(noise)
        for case in CASES:
            means = np.mean([judged(x, digits, case, seed) for seed in range(asked.seeds)], axis=0)
            print(
                f"{case:18} noise {noise:g}   {'  '.join(f'{value:.3f}' for value in means[::2])}"
                f"                     {'  '.join(f'{value:.3f}' for value in means[1::2])}"
            )


if __name__ == "__main__":
    main()
