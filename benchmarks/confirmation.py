"""Who is picked, and what is said about them: by simulation from what real strategies got right.

    python benchmarks/confirmation.py [--draws 1000]

Each draw is a study of the 24 strategies of `bits.json` (see `bits.py`): real trainings, of which each image
is right or wrong for each strategy in each of nine runs. So images that are hard stay hard, in all runs and
for related strategies. A draw takes some of the runs and draws images: those of the validation split from a
random third of the recorded ones, those that only train from the other two thirds, whose mean over all runs
is the truth. Images do not stand in both, so what chose a strategy tells nothing else about the others. The three
best by validation score are confirmed as a search does. Spread adds to each run of each strategy an effect
of so many points (standard deviation), on top of what real runs have.

The second table has the set of the best by validation alone, as strategies have it that are not confirmed; the
best is then the one with the highest mean over all runs and images. The last table has what no real strategies are: three that are equally good, made by exchanging the
answers of three real ones image by image, and the same with two of them made worse by three points.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "reporting"), str(ROOT / "benchmarks")]

from bits import load  # noqa: E402
from studies_by_hand import confirm_run  # noqa: E402

from automl_transfer.domain.evidence import ExtraRun  # noqa: E402
from automl_transfer.reporting.confirmed import accuracy_interval, arms_of  # noqa: E402
from automl_transfer.reporting.panel import Panel  # noqa: E402
from automl_transfer.reporting.racing import next_round  # noqa: E402
from automl_transfer.reporting.statistics import best_set, paired_set  # noqa: E402

CANDIDATES, RUNS = 3, 4
Bits = npt.NDArray[np.bool_]


def spoil(rng: np.random.Generator, right: Bits, points: float) -> Bits:
    """Answers made worse, or better, by so many points."""
    share = abs(points) / 100.0 / max(1e-9, right.mean() if points < 0 else 1.0 - right.mean())
    flipped = rng.random(right.shape) < share
    return right & ~flipped if points < 0 else right | flipped


def runs_of(
    rng: np.random.Generator, answers: Bits, chose: Bits | None, spread: float = 0.0, noise: bool = True
) -> list[ExtraRun]:
    """Confirmation runs of (strategies, runs, images) answers: run r is judged on block r of all images."""
    order = rng.permutation(answers.shape[2])
    found = []
    for run, block in enumerate(np.array_split(order, RUNS)):
        for root, right in enumerate(answers[:, run][:, block]):
            one = spoil(rng, right, spread * rng.standard_normal()) if spread else right
            found.append(confirm_run(root, run, one, images=block, pool=len(order), chose=chose))
    return found


def race(everything: list[ExtraRun], strategies: int) -> list[ExtraRun]:
    """The runs that a search would have made."""
    known = {(run.root, run.run): run for run in everything}
    done: list[ExtraRun] = []
    while wanted := next_round(list(range(strategies)), done, RUNS):
        done += [known[pair] for pair in wanted]
    return done


def panel_of(runs: list[ExtraRun]) -> Panel:
    return Panel(list(arms_of(runs).values()))


def study(rng: np.random.Generator, bits: Bits, n: int, spread: float, draws: int) -> str:
    """One line: studies with validation splits of n images."""
    strategies, runs, images = bits.shape
    names = ("validation", "race", "all runs")
    hits, regret = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    spent, flattered, bias, covered, lost, left = 0, 0.0, [], 0, 0, 0.0
    for _ in range(draws):
        places, numbers = rng.permutation(images), rng.permutation(runs)
        seen, fresh = places[: images // 3], places[images // 3 :]
        pool = np.concatenate([rng.choice(seen, n), rng.choice(fresh, (RUNS - 1) * n)])
        chose = np.arange(len(pool)) < n
        truth = bits[:, :, fresh].mean(axis=(1, 2))
        score = bits[:, numbers[0]][:, pool[:n]].mean(axis=1)
        order = np.argsort(-score - 1e-9 * rng.random(strategies))[:CANDIDATES]
        answers = bits[order][:, numbers[1 : RUNS + 1]][:, :, pool]
        everything = runs_of(rng, answers, chose, spread)
        raced = race(everything, CANDIDATES)
        found = panel_of(raced)
        winner = found.order[0]
        picked = {"validation": 0, "race": winner, "all runs": panel_of(everything).order[0]}
        best = int(np.argmax(truth[order]))
        for name, at in picked.items():
            hits[name] += truth[order[at]] >= truth[order[best]] - 1e-9
            regret[name] += float(truth.max() - truth[order[at]])
        spent += len(raced)
        flattered += float(score[order[0]] - truth[order[0]])
        confirmed, true = found.score(winner), truth[order[winner]]
        bias.append(float(confirmed.mean - true))
        low, high = accuracy_interval(confirmed)
        covered += low <= true <= high
        # The truth about differences is that of all images of which they are made.
        level = (truth * (RUNS - 1) + bits[:, :, seen].mean(axis=(1, 2)))[order]
        kept = dict(zip(found.roots, found.kept(RUNS), strict=True))
        lost += not kept[int(np.argmax(level))]
        left += sum(kept.values())
    shares = " | ".join(f"{100 * hits[k] / draws:.0f}% / {100 * regret[k] / draws:.2f}" for k in names)
    error = 196 * np.std(bias) / draws**0.5
    return (
        f"{n}, {spread:.1f} | {shares} | {spent / draws:.1f} | {100 * flattered / draws:.2f} | "
        f"{100 * np.mean(bias):.2f} +- {error:.2f} | {100 * covered / draws:.1f}% | {100 * lost / draws:.1f}% | "
        f"{left / draws:.1f} |"
    )


def gaps(
    rng: np.random.Generator, bits: Bits, n: int, spread: float, draws: int, strategies: int = CANDIDATES
) -> str:
    """One line: how often equal strategies are told apart, and such with a gap of three points."""
    tops = np.argsort(-bits.mean(axis=(1, 2)))[: 3 * strategies]
    wrong, seen, plain = 0, 0, 0
    for _ in range(draws):
        chosen, numbers = rng.choice(tops, strategies, replace=False), rng.permutation(bits.shape[1])[:RUNS]
        pool = rng.integers(bits.shape[2], size=RUNS * n)
        answers = bits[chosen][:, numbers][:, :, pool]
        exchange = np.argsort(rng.random((strategies, len(pool))), axis=0)
        equal = np.take_along_axis(answers, exchange[:, None, :], axis=0)
        wrong += not panel_of(race(runs_of(rng, equal, None, spread), strategies)).kept(RUNS)[0]
        worse = equal.copy()
        hard = rng.random((strategies - 1, len(pool))) < 0.03 / equal.mean()
        worse[1:] &= ~hard[:, None, :]  # in all runs
        raced = panel_of(race(runs_of(rng, worse, None, spread), strategies))
        seen += (strategies - 1) - sum(raced.kept(RUNS)[1:])
        one = np.concatenate(
            [
                worse[:2, run][:, block]
                for run, block in enumerate(np.array_split(np.arange(len(pool)), RUNS))
            ],
            axis=1,
        )
        plain += mcnemar(one[0], one[1]) < 0.05
    return (
        f"{n}, {spread:.1f} | {100 * wrong / draws:.1f}% | {100 * seen / draws / (strategies - 1):.0f}% | "
        f"{100 * plain / draws:.0f}% |"
    )


def alone(rng: np.random.Generator, bits: Bits, n: int, draws: int) -> str:
    """One line: the set of the best by validation images alone, image by image and by counts."""
    kept, lost = {"pairs": 0, "counts": 0}, {"pairs": 0, "counts": 0}
    for _ in range(draws):
        right = bits[:, rng.integers(bits.shape[1])][:, rng.permutation(bits.shape[2])[:n]]
        counts = [int(k) for k in right.sum(axis=1)]
        best = int(np.argmax(bits.mean(axis=(1, 2))))
        for name, found in (("pairs", paired_set(list(right), counts, n)), ("counts", best_set(counts, n))):
            kept[name] += sum(found)
            lost[name] += not found[best]
    shares = " | ".join(f"{kept[k] / draws:.1f} | {100 * lost[k] / draws:.1f}%" for k in kept)
    return f"{n} | {shares} |"


def mcnemar(right: Bits, other: Bits) -> float:
    """Two-sided exact p (McNemar 1947), as if runs did not matter."""
    from scipy.stats import binomtest

    only, others = int((right & ~other).sum()), int((other & ~right).sum())
    return float(binomtest(only, only + others).pvalue) if only + others else 1.0


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    recorded = load()
    print(f"n = {draws} studies of 24 strategies a line\n")
    print("| task, validation images, spread | validation: right / regret | race | all runs "
          "| runs of the race | validation score too high by | confirmed one too high by | its interval covers "
          "| set loses the best | of 3 in the set |")  # fmt: skip
    print("|" + "---|" * 10)
    settings = ((75, 0.0), (200, 0.0), (200, 0.5), (500, 0.0))
    for name, bits in recorded.items():
        for n, spread in settings:
            print(f"| {name}, {study(np.random.default_rng(n), bits, n, spread, draws)}", flush=True)
    print(
        "\n| task, validation images | set of 24 by pairs | loses the best | set by counts | loses the best |"
    )
    print("|" + "---|" * 5)
    for name, bits in recorded.items():
        for n in sorted({n for n, _ in settings}):
            print(f"| {name}, {alone(np.random.default_rng(n), bits, n, draws)}", flush=True)
    print("\n| task, images a run, spread | a given one of 3 equals is lost | a gap of 3 points is seen "
          "| by McNemar alone, 5% |")  # fmt: skip
    print("|" + "---|" * 4)
    for name, bits in recorded.items():
        for n, spread in settings:
            print(f"| {name}, {gaps(np.random.default_rng(n), bits, n, spread, draws)}", flush=True)


if __name__ == "__main__":
    main()
