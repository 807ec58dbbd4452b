"""Replays searches over the recorded table: which sampler, which pruner, how many workers.

    python benchmarks/replay.py                                  the comparison of docs/evidence.md
    python benchmarks/replay.py --arms prior+promote tpe+hyperband --seeds 30 --workers 1 8
    python benchmarks/replay.py --recipes                        recipes chosen on the other tasks

An arm is SAMPLER+ORDER, and `+cost`, `+improve` (one of four draws by expected improvement, a predicted second
or not), `+cold` (no first answers), a setting of the study (`+min_epochs=1`) or a constant of the sampler
(`+RECIPES=0.6`). Samplers, pruners, first answers and the draw itself are the project's own;
time is the CPU seconds that were recorded. A task's regret is 0 where the incumbent is the table's best by
validation, and 1 where it is as the median strategy or worse; so it is for test, which nothing chooses by. Seconds
until .05 count as the whole budget where it was never reached. Intervals: 95%, by bootstrap over seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent / "table"))
import numpy as np
import optuna
from elsewhere import chosen_elsewhere, searching_with
from optuna.samplers import BaseSampler, GPSampler, RandomSampler
from orders import ORDERS
from pydantic import ValidationError
from regret import ENOUGH, Replays, Scale, interval, log_mean, ratio, soonest
from simulate import Arm, Replay
from stored import RECORDED, TableError, TaskTable, read_all
from strategies import quick_space

from automl_transfer.domain.spec import SearchSpec
from automl_transfer.search import prior
from automl_transfer.search.samplers import PRUNERS, SAMPLERS
from automl_transfer.space.space import Space

BASELINE = "tpe+hyperband"
ARMS = (
    "prior+promote", "prior+asha", "prior+hyperband", "prior+median", "prior+none", "prior+1-epoch top K",
    "tpe+promote", BASELINE, "tpe+hyperband+cold", "tpe+asha", "tpe+none", "random+promote", "random+asha",
    "prior+promote+improve", "prior+promote+cost", "gp+none", "random+none",
)  # fmt: skip
TRAININGS = 20
"""A search's budget, as so many whole trainings of a task's median strategy, on one worker."""
FEWEST = 20
"""Recorded strategies of a task, below which a search on it says little."""
MOMENTS = (2, 5, 10, 20)
"""Whole trainings after which the regret is told."""


def gp(seed: int) -> BaseSampler:
    """Optuna's Gaussian process, which the project does not offer.

    It models the dimensions that all trials have, and fails where trials come back from a pause with others.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GPSampler(
            seed=seed, n_startup_trials=8, independent_sampler=RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )  # fmt: skip


MADE: dict[str, Callable[[int], BaseSampler]] = {"gp": gp}
"""Samplers that the project does not offer."""


def arm_of(name: str) -> Arm:
    """The arm of a name.

    Raises:
        ValueError: It names what there is not, or what cannot be.
    """
    sampler, order, *more = name.split("+") if "+" in name else (name, "")
    if sampler not in {*SAMPLERS, *MADE} or order not in {*PRUNERS, *ORDERS}:
        raise ValueError(
            f"an arm must be SAMPLER+ORDER, of the samplers {', '.join({**SAMPLERS, **MADE})} and the orders "
            f"{', '.join({**PRUNERS, **ORDERS})}, got {name!r}"
        )
    if sampler in MADE and order != "none":
        raise ValueError(
            f"{sampler} cannot learn from trials that were stopped or paused: take {sampler}+none, got {name!r}"
        )
    is_order = order in ORDERS
    found = Arm(
        sampler="random" if sampler in MADE else sampler, pruner="none" if is_order else order,
        order=order if is_order else "none", first="cold" not in more, make=MADE.get(sampler),
    )  # fmt: skip
    if "cost" in more or "improve" in more:
        found = dataclasses.replace(found, settings={"cost": True}, by_seconds="cost" in more)
    for part in more:
        name_of, equals, text = part.partition("=")
        if not equals and part not in ("cold", "cost", "improve"):
            raise ValueError(
                f"an arm must end in cost, improve, cold, SETTING=VALUE or CONSTANT=VALUE, got {part!r}"
            )
        if not equals:
            continue
        value = value_of(part, text)
        if hasattr(prior, name_of) and name_of.isupper():
            found = dataclasses.replace(found, constants={**found.constants, name_of: value})
        elif name_of in SearchSpec.model_fields:
            found = dataclasses.replace(found, settings={**found.settings, name_of: value})
        else:
            raise ValueError(
                f"{name_of} must be a setting of a search or a constant of search/prior.py, got {part!r}"
            )
    try:
        SearchSpec.model_validate({"max_epochs": 9, "pruner": found.pruner, **found.settings})
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise ValueError(f"the settings of an arm must be a search's, got {name!r}: {why}") from None
    return found


def value_of(part: str, text: str) -> Any:
    """What a setting of an arm says, as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"a setting of an arm must be NAME=VALUE, VALUE as in JSON, got {part!r}") from None


def replayed(
    table: TaskTable, arm: Arm, space: Space, seeds: Iterable[int], workers: int, trainings: float
) -> Replays:
    """Replay one arm on one task; with several workers until regret .05, as nothing else is told of them."""
    scale = Scale.of(table)
    enough = scale.is_enough if workers > 1 else None
    found = Replays(scale, trainings * scale.seconds)
    suited = suit(space, table)
    for seed in seeds:
        out = Replay(table, arm, suited, seed=seed, workers=workers, budget=found.budget, enough=enough).run()
        found.incumbents.append(out.incumbents)
        found.trials.append(out.trials)
        found.complete.append(out.complete)
        found.lost.append(out.lost / max(1e-9, out.spent))
        found.distances += out.distances
    return found


def suit(space: Space, table: TaskTable) -> Space:
    """The study's space without what would change the class of this task's images, as `Space.suited` has it."""

    class May:
        name = table.name

        def may(self, change: str) -> bool:
            return bool(table.facts["mirror"]) if change == "mirror" else False

    task: Any = May()
    return space.suited(task)


Part = tuple[str, str, int]
"""Arm, task and workers."""
Results = dict[Part, Replays]


def table_lines(results: Results, arms: list[str], tasks: list[str], baseline: str) -> Iterator[str]:
    """One line an arm, over all tasks, on one worker."""
    heads = [f"regret after {moment}" for moment in MOMENTS]
    yield (
        "| arm | "
        + " | ".join(heads)
        + " | test regret after 20 | there by 20 | time to .05 / baseline | by test | slower on | lost | trials |"
    )
    yield "|---" * (len(heads) + 8) + "|"
    for arm in arms:
        mine = [results[arm, task, 1] for task in tasks]
        cells = [
            "{:.3f} ({:.3f} to {:.3f})".format(*interval([m.regrets(x, "validation") for m in mine]))
            for x in MOMENTS
        ]
        cells.append(
            "{:.3f} ({:.3f} to {:.3f})".format(*interval([m.regrets(MOMENTS[-1], "test") for m in mine]))
        )
        cells.append(f"{np.mean([m.reached('validation') for m in mine]):.0%}")
        for of in ("validation", "test"):
            theirs = [results[baseline, task, 1] for task in tasks]
            found = ratio([m.until(of) for m in mine], [t.until(of) for t in theirs])
            cells.append("{:.2f} ({:.2f} to {:.2f})".format(*found))
        times = by_task(results, (arm, 1), (baseline, 1), tasks)
        cells.append(f"{sum(time > 1 + 1e-9 for time in times.values())} of {len(tasks)}")
        cells.append(f"{np.mean([np.mean(m.lost) for m in mine]):.0%}")
        cells.append(f"{np.mean([np.mean(m.trials) for m in mine]):.0f}")
        yield f"| {arm} | " + " | ".join(cells) + " |"


def by_task(
    results: Results, mine: tuple[str, int], theirs: tuple[str, int], tasks: list[str]
) -> dict[str, float]:
    """How many times as long one of (arm, workers) takes as another, on each task."""

    def spent(who: tuple[str, int], task: str) -> float:
        arm, workers = who
        return log_mean(results[arm, task, workers].until("validation"))

    return {task: math.exp(spent(mine, task) - spent(theirs, task)) for task in tasks}


def speed_up(results: Results, arm: str, tasks: list[str], workers: int) -> tuple[float, float, float]:
    """How much sooner many workers are there than one."""
    one, many = ([results[arm, task, n].until("validation") for task in tasks] for n in (1, workers))
    return ratio(one, many)


def run_all(
    tables: list[TaskTable], arms: list[str], workers: list[int], seeds: int, trainings: float,
    recipes: bool = False, jobs: int = 1, say: Callable[[str], None] = lambda line: None,
    alone: tuple[str, ...] = (),
) -> Results:  # fmt: skip
    """Every arm on every task, in so many processes; those that are `alone`, with one worker."""
    counts = {arm: [1] if arm in alone else workers for arm in arms}
    parts = [(arm, table.name, count) for arm in arms for table in tables for count in counts[arm]]
    one = partial(_part, tables, seeds, trainings, recipes)
    if jobs == 1:
        found = map(one, parts)
        return _told(parts, found, say)
    with ProcessPoolExecutor(jobs) as pool:
        return _told(parts, pool.map(one, parts), say)


def _told(parts: list[Part], found: Iterable[Replays], say: Callable[[str], None]) -> Results:
    results: Results = {}
    for number, (part, replays) in enumerate(zip(parts, found, strict=True), start=1):
        results[part] = replays
        say(f"{number} of {len(parts)}: {part[0]} on {part[1]}, workers: {part[2]}")
    return results


def _part(tables: list[TaskTable], seeds: int, trainings: float, recipes: bool, part: Part) -> Replays:
    name, task, workers = part
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arm = arm_of(name)
    (table,) = (table for table in tables if table.name == task)
    elsewhere = (chosen_elsewhere(tables, table) or None) if recipes else None
    with searching_with(elsewhere, arm.constants):
        return replayed(table, arm, quick_space(), range(seeds), workers, trainings)


def _times(found: dict[str, float]) -> str:
    return ", ".join(f"{task} {time:.2f}" for task, time in sorted(found.items(), key=lambda pair: pair[1]))


def plain(results: Results) -> dict[str, Any]:
    """For the picture: mean regrets over time, by arm and task, on one worker."""
    moments = [round(float(x), 3) for x in np.geomspace(0.1, TRAININGS, 60)]
    curves = {}
    for (arm, task, workers), found in results.items():
        if workers == 1:
            curves.setdefault(arm, {})[task] = {
                of: [round(float(found.regrets(x, of).mean()), 4) for x in moments]
                for of in ("validation", "test")
            }
    return {"trainings": moments, "curves": curves}


def main() -> None:
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="SAMPLER+ORDER")
    parser.add_argument("--baseline", default=BASELINE)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--trainings", type=float, default=TRAININGS)
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--fewest", type=int, default=FEWEST, help="strategies that a task must have")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument(
        "--recipes", action="store_true", help="recipes chosen on the other tasks, not the project's"
    )
    parser.add_argument("--curves", type=Path, help="write mean regrets over time as JSON, for the picture")
    asked = parser.parse_args()
    arms = list(dict.fromkeys([*asked.arms, asked.baseline]))
    for name in ("seeds", "trainings", "fewest", "jobs"):
        if not getattr(asked, name) > 0:
            parser.error(f"--{name} must be more than 0, got {getattr(asked, name)}")
    if min(asked.workers) < 1:
        parser.error(f"--workers must be at least 1 each, got {min(asked.workers)}")
    try:
        for arm in arms:
            arm_of(arm)
        tables = read_all(asked.recorded)
    except (ValueError, TableError) as error:
        parser.error(str(error))
    if asked.tasks and (unknown := [task for task in asked.tasks if task not in tables]):
        parser.error(f"--tasks must be of {', '.join(tables)}, got {', '.join(unknown)}")
    chosen = [tables[task] for task in asked.tasks or tables]
    few = [table.name for table in chosen if len({cell.key[0] for cell in table.cells}) < asked.fewest]
    silent = [table.name for table in chosen if table.name not in few and not Scale.of(table).tells]
    chosen = [table for table in chosen if table.name not in {*few, *silent}]
    if not chosen:
        parser.error(
            f"a task must have {asked.fewest} recorded strategies, and a best one that is better than the median "
            "one, to be searched on, got none: record more with benchmarks/table/record.py, or say --fewest"
        )
    cells = sum(len(table.cells) for table in chosen)
    print(f"{cells} cells of {len(chosen)} tasks, {asked.seeds} seeds, {asked.trainings:g} trainings")
    if few:
        print(f"left out, fewer than {asked.fewest} strategies: {', '.join(few)}")
    if silent:
        print(f"left out, the best strategy is no better than the median one: {', '.join(silent)}")
    workers = sorted({1, *asked.workers})
    results = run_all(
        chosen, arms, workers, asked.seeds, asked.trainings, asked.recipes, asked.jobs,
        say=lambda line: print(line, file=sys.stderr, flush=True),
        alone=() if asked.baseline in asked.arms else (asked.baseline,),
    )  # fmt: skip
    tasks = [table.name for table in chosen]
    print(*table_lines(results, arms, tasks, asked.baseline), sep="\n")
    for arm in asked.arms:
        if arm != asked.baseline:
            print(
                f"{arm}, time / {asked.baseline} by task: {_times(by_task(results, (arm, 1), (asked.baseline, 1), tasks))}"
            )
    far = np.concatenate([found.distances for found in results.values()])
    print(f"strategies that the table lacks: {np.mean(far > 0):.0%} of {len(far)} drawn, answered by the nearest "
          f"(distance {np.median(far[far > 0]) if (far > 0).any() else 0:.1f}, median)")  # fmt: skip
    least = [np.array([soonest(table, Scale.of(table).enough)]) for table in chosen]
    for count in workers[1:]:
        for arm in asked.arms:
            found = speed_up(results, arm, tasks, count)
            print(
                f"{arm}: {count} workers are there {found[0]:.1f} ({found[1]:.1f} to {found[2]:.1f}) times as soon"
            )
            times = by_task(results, (arm, count), (arm, 1), tasks)
            print(f"    by task: {_times({task: 1 / time for task, time in times.items()})}")
            most = ratio([results[arm, task, 1].until("validation") for task in tasks], least)[0]
            print(f"    at most {most:.1f} times, were the best there is all that they trained")
    if asked.curves is not None:
        asked.curves.write_text(json.dumps(plain(results)), encoding="utf-8")
    first = asked.arms[0]
    best = ratio(
        *([results[arm, task, 1].until("validation") for task in tasks] for arm in (first, asked.baseline))
    )
    after = interval([results[first, task, 1].regrets(MOMENTS[-1], "validation") for task in tasks])
    print(f"REPLAY {first}: time to regret {ENOUGH:g} is {best[0]:.2f} ({best[1]:.2f} to {best[2]:.2f}) of {asked.baseline}, "
          f"regret {after[0]:.3f} after {MOMENTS[-1]} trainings ({len(tasks)} tasks, {asked.seeds} seeds)")  # fmt: skip


if __name__ == "__main__":
    main()
