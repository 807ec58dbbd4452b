"""Who is picked: the best validation score, or the winner of a confirmation race? By simulation.

    .venv/bin/python benchmarks/confirmation.py [--draws 1000]

Each draw is a study of 30 strategies with known accuracies. Every trained model is off its strategy's
accuracy by a run effect (seed and training images); it is judged on as many images as given. The race
is the one of a search: the three best by validation score, at most four fresh trainings each.
`uniform` trains each of the three four times, always. Regret is in points of accuracy.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "reporting"))

from studies_by_hand import confirm_run

from automl_transfer.domain.evidence import ExtraRun
from automl_transfer.reporting.confirmed import (
    accuracy_interval,
    arms_of,
    estimate,
    may_be_best,
)
from automl_transfer.reporting.racing import next_round

STRATEGIES, CANDIDATES, RUNS = 30, 3, 4


def runs_of(rng: np.random.Generator, truth: list[float], n: int, spread: float) -> list[ExtraRun]:
    """Four runs of each candidate on the same blocks; half of an image's difficulty is common to all."""
    found = []
    for run in range(RUNS):
        common = rng.random(n)
        for root, accuracy in enumerate(truth):
            level = np.clip(accuracy + spread * rng.standard_normal(), 0, 1)
            own = np.where(rng.random(n) < 0.5, common, rng.random(n))
            found.append(confirm_run(root, run, own < level, pool=RUNS * n))
    return found


def race(everything: list[ExtraRun], strategies: int) -> list[ExtraRun]:
    known = {(run.root, run.run): run for run in everything}
    done: list[ExtraRun] = []
    while wanted := next_round(list(range(strategies)), done, RUNS):
        done += [known[pair] for pair in wanted]
    return done


def winner_of(runs: list[ExtraRun]) -> int:
    arms = arms_of(runs)
    kept = may_be_best(list(arms.values()), RUNS - 1)
    return min(zip(arms, kept, strict=True), key=lambda pair: (not pair[1], -estimate(arms[pair[0]]).mean))[0]


def setting(rng: np.random.Generator, draws: int, top: float, gap: float, n: int, spread: float) -> str:
    hits = {"validation": 0, "race": 0, "uniform": 0}
    regret = dict.fromkeys(hits, 0.0)
    spent, curse, covered, lost = 0, 0.0, 0, 0
    for _ in range(draws):
        truth = np.sort(top - gap * rng.exponential(1.0, STRATEGIES))[::-1]
        levels = np.clip(truth + spread * rng.standard_normal(STRATEGIES), 0, 1)
        score = rng.binomial(n, levels) / n + 1e-9 * rng.random(STRATEGIES)
        order = np.argsort(-score)[:CANDIDATES]
        everything = runs_of(rng, [float(truth[at]) for at in order], n, spread)
        raced = race(everything, CANDIDATES)
        picked = {
            "validation": int(order[0]),
            "race": int(order[winner_of(raced)]),
            "uniform": int(order[winner_of(everything)]),
        }
        best = int(np.argmin(order))  # of the three: what a confirmation could find
        for name, at in picked.items():
            hits[name] += at == order[best]
            regret[name] += float(truth[0] - truth[at])
        spent += len(raced)
        curse += float(score[order[0]] - truth[order[0]])
        arms = arms_of(raced)
        confirmed = estimate(arms[int(np.flatnonzero(order == picked["race"])[0])])
        low, high = accuracy_interval(confirmed)
        covered += low <= truth[picked["race"]] <= high
        kept = dict(zip(arms, may_be_best(list(arms.values()), RUNS - 1), strict=True))
        lost += not kept[best]
    shares = " | ".join(
        f"{100 * hits[name] / draws:.0f}% / {100 * regret[name] / draws:.2f}" for name in hits
    )
    return (
        f"| {top:.2f}, {100 * gap:.1f}, {n}, {100 * spread:.1f} | {shares} | {spent / draws:.1f} | "
        f"{100 * curse / draws:.2f} | {100 * covered / draws:.1f}% | {100 * lost / draws:.1f}% |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print(f"n = {draws} studies of {STRATEGIES} strategies a line\n")
    print("| best, gap, images, spread | validation: right / regret | race | uniform, 12 runs | runs of the race "
          "| validation score too high by | its interval covers | set loses the best |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for top, gap in ((0.95, 0.02), (0.99, 0.005), (0.85, 0.03)):
        for n, spread in ((200, 0.005), (1000, 0.005), (360, 0.0)):
            print(setting(rng, draws, top, gap, n, spread), flush=True)


if __name__ == "__main__":
    main()
