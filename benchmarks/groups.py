"""How often intervals and sets are right where images come in groups, as docs/ranking.md has it.

    python benchmarks/groups.py                    with groups, and as if there were none

Of what makes an image hard, .3 (a share of the variance of a normal variable) is shared within its group; two equal
models of accuracy .9 have difficulties of their own. `cover`: 95% intervals that hold the truth; `lost`: how often
a given one of the two is ruled out as the best, at 5% (confirmed: at 4.5%, with four runs).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reporting"))
from scipy.special import ndtri
from studies_by_hand import confirm_run

from automl_transfer.reporting.confirmed import accuracy_interval, arms_of, validation_interval
from automl_transfer.reporting.panel import Panel
from automl_transfer.reporting.statistics import Groups, paired_set

ACCURACY, SHARED, RUNS = 0.9, 0.3, 4
VALIDATION = ((10, 20), (20, 10), (40, 5), (200, 1))
CONFIRMED = ((40, 20), (80, 10), (160, 5), (800, 1))
"""Groups, and images of each."""


def drawn(rng: np.random.Generator, groups: Groups) -> npt.NDArray[np.bool_]:
    """Which images a model gets right."""
    common = rng.standard_normal(groups.max() + 1)[groups]
    own = rng.standard_normal(len(groups))
    return np.asarray(np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own < ndtri(ACCURACY))


def validation(rng: np.random.Generator, groups: Groups, draws: int) -> npt.NDArray[np.float64]:
    """(2, 2) shares: as if there were no groups, and with them; covered and lost."""
    counted = np.zeros((2, 2))
    for _ in range(draws):
        models = [drawn(rng, groups) for _ in range(2)]
        n, right = len(groups), [int(each.sum()) for each in models]
        for row, known in enumerate((None, groups)):
            low, high = validation_interval(right[0] / n, n, models[0], known)
            kept = paired_set(models, right, n, groups=known)
            counted[row] += (low <= ACCURACY <= high, not kept[0])
    return counted / draws


def confirmed(rng: np.random.Generator, groups: Groups, draws: int) -> npt.NDArray[np.float64]:
    """The same of two strategies that were trained again, each run judged on a quarter of the groups."""
    counted = np.zeros((2, 2))
    for _ in range(draws):
        blocks = np.array_split(rng.permutation(groups.max() + 1), RUNS)
        runs = []
        for run, block in enumerate(blocks):
            rows = np.flatnonzero(np.isin(groups, block))
            for root in range(2):
                right = drawn(rng, groups)[rows]
                runs.append(confirm_run(root, run, right, images=rows, pool=len(groups)))
        arms = list(arms_of(runs).values())
        for row, known in enumerate((None, groups)):
            panel = Panel(arms, "accuracy", known)
            low, high = accuracy_interval(panel.score(0))
            counted[row] += (low <= ACCURACY <= high, not panel.kept(RUNS)[0])
    return counted / draws


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=1500)
    parser.add_argument("--confirmed-draws", type=int, default=400)
    asked = parser.parse_args()
    for name in ("draws", "confirmed_draws"):
        if getattr(asked, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(asked, name)}")
    rng = np.random.default_rng(0)
    parts = (
        ("validation", VALIDATION, validation, asked.draws),
        ("confirmed", CONFIRMED, confirmed, asked.confirmed_draws),
    )
    print(
        "| scores | groups x images | draws | cover, groups ignored | cover | lost, groups ignored | lost |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, sizes, simulated, draws in parts:
        for number, images in sizes:
            alone, known = simulated(rng, np.repeat(np.arange(number), images), draws)
            print(
                f"| {name} | {number} x {images} | {draws} | {alone[0]:.1%} | {known[0]:.1%} | {alone[1]:.1%} | "
                f"{known[1]:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
