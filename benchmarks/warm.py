"""Replays warm starts over the recorded table: each task from what the others tell, its siblings left out too.

    python benchmarks/warm.py                                   the table of docs/knowledge.md
    python benchmarks/warm.py --picture FILE                    and its picture
    python benchmarks/warm.py --arms cold warm --seeds 30

A search is there once its incumbent has 99% of the validation accuracy that the cold search came to in the end (the
median over seeds), on the simulated clock of `replay.py`. Arms:

    cold        what a search does without knowing of other tasks: first answers, then the sampler with its prior
    TPE         no first answers and nothing of other tasks: Optuna's TPE and Hyperband
    random      the same first answers, then random draws
    i-Epoch     the same draws as cold, all trained for one epoch in half of the time, the best of them to the end
    warm        a portfolio of the other tasks after the first answers, then a prior around it; all tasks count alike
    similar     the same, tasks weighted by how alike their signatures are
    shuffled    the same weights, given to the tasks at random
    anything    as many strategies of other tasks, taken at random
    oracle      the portfolio of the task itself: what could be had at most

    adversarial a warm start from tasks whose ranks were reversed: what was worst there is proposed first

Below them stands what no search can beat: the cheapest recorded strategy that gets there, alone after the profile.

Beside each ratio stands its 95% interval by bootstrap over seeds; p by Wilcoxon's signed-rank test over tasks.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent / "table"))
import numpy as np
import optuna
from knowledge import known_of, signatures_of
from regret import Scale, log_mean, ratio, soonest
from scipy import stats
from simulate import LABELS, Arm, Outcome, Replay, seconds_until
from stored import RECORDED, TableError, TaskTable, read_all
from strategies import quick_space

from automl_transfer.domain.stored_strategy import store_strategy
from automl_transfer.domain.warm import WarmStart
from automl_transfer.knowledge.portfolio import MOST, OF_PROFILE, Earlier
from automl_transfer.knowledge.reading import ranks
from automl_transfer.knowledge.similarity import weights_of
from automl_transfer.search.earlier import propose
from automl_transfer.search.warm import Warm

SIBLINGS = (frozenset({"digits-20", "mnist-600"}),)
"""Tasks of the same kind of images: none of them tells of another."""
ENOUGH = 0.99
"""Of what the cold search comes to."""
ARMS = (
    "cold",
    "TPE",
    "random",
    "i-Epoch",
    "warm",
    "similar",
    "shuffled",
    "anything",
    "oracle",
    "adversarial",
)
COLD = Arm(pruner="promote", order="promote")


@dataclass(frozen=True)
class Others:
    """What the other tasks of a table tell of one.

    Attributes:
        known: All tasks, by name.
        kind: The arm.
        seed: Of what is taken at random.
        most: Strategies that are proposed at most.
    """

    known: Mapping[str, Earlier]
    task: str
    kind: str
    seed: int
    most: int = MOST

    def earlier(self) -> list[Earlier]:
        """The tasks that count."""
        if self.kind == "oracle":
            return [self.known[self.task]]
        family = next((family for family in SIBLINGS if self.task in family), {self.task})
        others = [task for name, task in self.known.items() if name not in family]
        if self.kind == "adversarial":
            return [worst_first(task) for task in others]
        if self.kind == "anything":
            generator = np.random.default_rng([self.seed, 21])
            return [reranked(t, ranks(generator.random(len(t.tried)).tolist())) for t in others]
        return others

    def weights(self, earlier: Sequence[Earlier]) -> list[float] | None:
        """How much each counts; None: all the same."""
        if self.kind not in ("similar", "shuffled"):
            return None
        signature = self.known[self.task].known.signature
        found = weights_of(signature, [each.known.signature for each in earlier])
        if self.kind == "shuffled":
            found = list(np.random.default_rng([self.seed, 22]).permutation(found))
        return found

    def __call__(self, replay: Replay) -> Warm:
        """What a search on the task begins with."""
        begun = self._begun(replay)

        def first() -> frozenset[int]:
            return frozenset(n for n, trial in replay.trials.items() if trial.label in LABELS.values())

        images = int(replay.table.facts["splits"]["validation"])
        return Warm(lambda: begun, replay.space, replay.spec.first_rung, first, images)

    def _begun(self, replay: Replay) -> WarmStart:
        answers = replay.table.answers
        solved = (answers.get("tuned") or answers["profile"]).model_dump(include=set(OF_PROFILE))
        earlier = self.earlier()
        begun = propose(
            earlier, replay.space, solved, list(answers.values()), mirrors=bool(replay.table.facts["mirror"]),
            balanced=False, weights=self.weights(earlier), most=self.most,
        )  # fmt: skip
        return begun.model_copy(update={"afterwards": store_strategy(answers["default"])})


def worst_first(task: Earlier) -> Earlier:
    """A task on which all is the other way round, and nothing is known of first answers."""
    tried = tuple(dataclasses.replace(each, rank=1.0 - each.rank, answer=None) for each in task.tried)
    return dataclasses.replace(task, tried=tried)


def reranked(task: Earlier, ranked: Sequence[float]) -> Earlier:
    """A task that tells something else of the same strategies."""
    tried = tuple(dataclasses.replace(t, rank=rank) for t, rank in zip(task.tried, ranked, strict=True))
    return dataclasses.replace(task, tried=tried)


def known_tasks(tables: Sequence[TaskTable], recorded: Path) -> dict[str, Earlier]:
    """What each task tells, by name."""
    signatures = signatures_of(recorded)
    return {
        table.name: Earlier.of(known_of(table, signatures.get(table.name)), table.name, "recorded")
        for table in tables
    }


def arm_of(name: str, known: Mapping[str, Earlier], task: str, seed: int, most: int = MOST) -> Arm:
    """An arm by its name, on a task."""
    if name == "cold":
        return COLD
    if name == "TPE":
        return Arm(sampler="tpe", pruner="hyperband", first=False)
    if name == "random":
        return dataclasses.replace(COLD, sampler="random")
    if name == "i-Epoch":
        return dataclasses.replace(COLD, pruner="none", order="1-epoch top K")
    return dataclasses.replace(COLD, warm=Others(known, task, name, seed, most))


Part = tuple[str, str]
"""Arm and task."""


def run_part(
    tables: Sequence[TaskTable],
    known: Mapping[str, Earlier],
    seeds: int,
    trainings: float,
    most: int,
    part: Part,
) -> list[Outcome]:
    """All searches of an arm on a task."""
    from replay import suit

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name, task = part
    (table,) = (each for each in tables if each.name == task)
    space, budget = suit(quick_space(), table), trainings * Scale.of(table).seconds
    return [
        Replay(table, arm_of(name, known, task, seed, most), space, seed=seed, budget=budget).run()
        for seed in range(seeds)
    ]


@dataclass(frozen=True)
class Reached:
    """When the searches of an arm on a task were there.

    Attributes:
        seconds: The budget where a search never was.
        trials: That had begun by then.
    """

    seconds: np.ndarray
    trials: np.ndarray
    there: np.ndarray

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], target: float, budget: float) -> Reached:
        found = [seconds_until(one.incumbents, lambda i: i.validation >= target - 1e-9) for one in outcomes]
        seconds = np.minimum(found, budget)
        begun = [sum(b < s for b in one.begun) for one, s in zip(outcomes, seconds, strict=True)]
        return cls(seconds, np.array(begun), np.array(found) < budget)


Results = dict[Part, list[Outcome]]


def targets(results: Results, tables: Sequence[TaskTable]) -> dict[str, float]:
    """What a search on each task has to come to."""
    ends = {t.name: [one.incumbents[-1].validation for one in results["cold", t.name]] for t in tables}
    return {name: ENOUGH * float(np.median(each)) for name, each in ends.items()}


def reached(results: Results, tables: Sequence[TaskTable], trainings: float) -> dict[Part, Reached]:
    """When each search had what the cold one has in the end."""
    found, target = {}, targets(results, tables)
    for table in tables:
        budget = trainings * Scale.of(table).seconds
        for arm, task in results:
            if task == table.name:
                found[arm, task] = Reached.of(results[arm, task], target[task], budget)
    return found


def table_lines(found: dict[Part, Reached], arms: Sequence[str], tasks: Sequence[str]) -> Iterator[str]:
    """One line an arm, over all tasks."""
    yield "| arm | time / cold (95%) | most, on | p, faster than cold | trials | there | slower than 1.1 x cold on |"
    yield "|---" * 7 + "|"
    for arm in arms:
        mine, cold = ([found[each, task] for task in tasks] for each in (arm, "cold"))
        over = ratio([m.seconds for m in mine], [c.seconds for c in cold])
        single = [np.exp(log_mean(m.seconds) - log_mean(c.seconds)) for m, c in zip(mine, cold, strict=True)]
        worst = int(np.argmax(single))
        slower = sum(each > 1.1 for each in single)
        trials = np.mean([m.trials.mean() for m in mine])
        there = np.mean([m.there.mean() for m in mine])
        yield (
            f"| {arm} | {over[0]:.2f} ({over[1]:.2f} to {over[2]:.2f}) | {single[worst]:.2f}, {tasks[worst]} | "
            f"{p_of(found, tasks, arm, 'cold')} | {trials:.1f} | {there:.0%} | {slower} of {len(tasks)} |"
        )


def bound_line(found: dict[Part, Reached], least: Mapping[str, float]) -> str:
    """What nothing can beat, over all tasks; a search that has luck may be there as soon."""
    cold = {task: np.exp(log_mean(found["cold", task].seconds)) for task in least}
    shares = [min(1.0, seconds / cold[task]) for task, seconds in least.items()]
    mean, most = np.exp(np.mean(np.log(shares))), int(np.argmin(shares))
    return (f"nothing can be there sooner than {mean:.2f} of the cold time (geometric mean; least {min(shares):.2f}, "
            f"{list(least)[most]}): the profile, and the cheapest recorded strategy that gets there")  # fmt: skip


def p_of(found: dict[Part, Reached], tasks: Sequence[str], arm: str, other: str) -> str:
    """Wilcoxon's p, one-sided, that an arm is there sooner than another; over tasks."""
    logs = [log_mean(found[arm, t].seconds) - log_mean(found[other, t].seconds) for t in tasks]
    if arm == other or not any(abs(each) > 1e-9 for each in logs):
        return "-"
    return f"{float(stats.wilcoxon(logs, alternative='less').pvalue):.3f}"


def by_task(
    found: dict[Part, Reached], arms: Sequence[str], tasks: Sequence[str], least: Mapping[str, float]
) -> Iterator[str]:
    """Simulated seconds (geometric mean over seeds), a row a task."""
    yield "| task | " + " | ".join(arms) + " | at least |"
    yield "|---" * (len(arms) + 2) + "|"
    for task in tasks:
        cells = [
            f"{np.exp(log_mean(found[arm, task].seconds)):.0f} s, {found[arm, task].trials.mean():.1f} trials"
            for arm in arms
        ]
        yield f"| {task} | " + " | ".join([*cells, f"{least[task]:.0f} s"]) + " |"


def run_all(
    tables: Sequence[TaskTable], arms: Sequence[str], seeds: int, trainings: float, recorded: Path,
    most: int = MOST, jobs: int = 1, say: Callable[[str], None] = lambda line: None,
) -> Results:  # fmt: skip
    """Every arm on every task."""
    parts = [(arm, table.name) for arm in dict.fromkeys(["cold", *arms]) for table in tables]
    one = partial(run_part, tables, known_tasks(tables, recorded), seeds, trainings, most)
    results: Results = {}
    with ProcessPoolExecutor(jobs) as pool:
        for part, found in zip(parts, map(one, parts) if jobs == 1 else pool.map(one, parts), strict=True):
            results[part] = found
            say(f"{len(results)} of {len(parts)}: {part[0]} on {part[1]}")
    return results


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trainings", type=float, default=20.0, help="a search's budget")
    parser.add_argument("--fewest", type=int, default=12, help="strategies that a task must have")
    parser.add_argument("--most", type=int, default=MOST, help="strategies that are proposed at most")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument("--picture", type=Path, help="draw the shares of searches that are there, over time")
    asked = parser.parse_args()
    for name in ("seeds", "most", "jobs"):
        if getattr(asked, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(asked, name)}")
    try:
        every = read_all(asked.recorded)
    except TableError as error:
        sys.exit(str(error))
    tables = [t for t in every.values() if len({c.key[0] for c in t.cells}) >= asked.fewest]
    if len(tables) < 3:
        sys.exit(f"three tasks must have {asked.fewest} recorded strategies, got {len(tables)}: record more, or "
                 "say --fewest")  # fmt: skip
    tasks = [table.name for table in tables]
    cells = sum(len(table.cells) for table in tables)
    print(f"{cells} cells of {len(tables)} tasks, {asked.seeds} seeds, {asked.trainings:g} trainings, portfolios of "
          f"at most {asked.most}")  # fmt: skip
    results = run_all(
        tables, asked.arms, asked.seeds, asked.trainings, asked.recorded, asked.most, asked.jobs,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    arms = list(dict.fromkeys(["cold", *asked.arms]))
    found = reached(results, tables, asked.trainings)
    least = {table.name: soonest(table, targets(results, tables)[table.name]) for table in tables}
    print(*table_lines(found, arms, tasks), sep="\n")
    print(bound_line(found, least))
    print(*by_task(found, arms, tasks, least), sep="\n")
    if {"similar", "shuffled", "warm"} <= set(arms):
        print(f"similarity: p {p_of(found, tasks, 'similar', 'warm')} that it is sooner than unweighted, "
              f"{p_of(found, tasks, 'similar', 'shuffled')} than shuffled")  # fmt: skip
    if asked.picture is not None:
        from warm_figure import draw

        draw(found, arms, tasks, asked.picture)


if __name__ == "__main__":
    main()
