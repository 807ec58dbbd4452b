"""Coverage of the report's intervals, and how often its sets lose the best: the tables of docs/ranking.md.

.venv/bin/python benchmarks/intervals.py [--draws 2000]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import binom

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "reporting"), str(ROOT / "benchmarks")]

from confirmation import panel_of, race  # noqa: E402
from studies_by_hand import confirm_run  # noqa: E402

from automl_transfer.domain.evidence import ExtraRun  # noqa: E402
from automl_transfer.reporting.confirmed import Arm, accuracy_interval  # noqa: E402
from automl_transfer.reporting.panel import Panel  # noqa: E402
from automl_transfer.reporting.statistics import best_set, clopper_pearson, wilson  # noqa: E402


def runs_of(rng: np.random.Generator, truth: list[float], n: int, spread: float) -> list[ExtraRun]:
    """Four runs of each strategy on the same blocks; half of an image's difficulty is common to all."""
    found = []
    for run in range(4):
        common = rng.random(n)
        for root, accuracy in enumerate(truth):
            level = np.clip(accuracy + spread * rng.standard_normal(), 0, 1)
            own = np.where(rng.random(n) < 0.5, common, rng.random(n))
            found.append(confirm_run(root, run, own < level, pool=4 * n))
    return found


def exact() -> None:
    print("| p | Clopper-Pearson, least | Wilson, least |\n|---|---|---|")
    for p in (0.8, 0.95, 0.99):
        least = {}
        for method in (clopper_pearson, wilson):
            found = []
            for n in range(100, 2001, 25):
                bounds = np.array([method(k, n) for k in range(n + 1)])
                inside = (bounds[:, 0] <= p) & (p <= bounds[:, 1])
                found.append((float(binom.pmf(np.arange(n + 1), n, p)[inside].sum()), n))
            least[method] = min(found)
        print(f"| {p} | " + " | ".join(f"{100 * c:.1f}% (n = {n})" for c, n in least.values()) + " |")


def confirmed(draws: int) -> None:
    print("| p, images in all, spread | accuracy covers | difference covers |\n|---|---|---|")
    for p, n, spread in (
        (0.8, 400, 0.01),
        (0.95, 400, 0.0),
        (0.95, 2000, 0.01),
        (0.99, 400, 0.0),
        (0.99, 2000, 0.004),
    ):
        rng = np.random.default_rng([n, int(1000 * p)])
        true = float(np.clip(p + spread * rng.standard_normal(400_000), 0, 1).mean())
        block, single, paired = n // 4, 0, 0
        for _ in range(draws):
            levels = np.clip(p + spread * rng.standard_normal(4), 0, 1)
            runs = {
                run: confirm_run(0, run, rng.random(block) < level, pool=n)
                for run, level in enumerate(levels)
            }
            low, high = accuracy_interval(Panel([Arm(0, runs)]).score(0))
            single += low <= true <= high
        for _ in range(draws // 2):
            gap = panel_of(runs_of(rng, [p, p], block, spread)).gap(0, 1)
            assert gap is not None
            low, high = gap.interval()
            paired += low <= 0.0 <= high
        print(
            f"| {p}, {n}, {100 * spread:.1f} points | {100 * single / draws:.1f}% | {200 * paired / draws:.1f}% |",
            flush=True,
        )


def sets(draws: int) -> None:
    print(
        "| p, images | validation alone, 12 equal models, 5% | confirmed, 3 equal strategies, 4.5% |\n|---|---|---|"
    )
    for p, n in ((0.8, 200), (0.95, 360), (0.99, 1000)):
        rng = np.random.default_rng([n, 5])
        alone = 0
        for counts in rng.binomial(n, p, (draws, 12)):
            alone += not best_set([int(k) for k in counts], n)[0]
        lost = 0
        for _ in range(draws // 2):
            lost += not panel_of(race(runs_of(rng, [p] * 3, n, 0.005), 3)).kept(4)[0]
        print(f"| {p}, {n} | {100 * alone / draws:.2f}% | {200 * lost / draws:.2f}% |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    print(f"exact, over n = 100 to 2,000; simulated with {draws} draws ({draws // 2} for pairs and races)\n")
    exact()
    print()
    confirmed(draws)
    print()
    sets(draws)


if __name__ == "__main__":
    main()
