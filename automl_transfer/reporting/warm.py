"""How a study began, and what that brought, in sentences: for the page, the terminal and `status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from automl_transfer.domain.records import TrialRecord, TrialState
from automl_transfer.domain.stored_strategy import read_strategy
from automl_transfer.domain.warm import HERE, SHIPPED, WarmStart, verdict
from automl_transfer.errors import UnreadableRowError
from automl_transfer.reporting.plain import plain

Start = Literal["warm", "cold"]
NAMED = 3
"""Studies that are named."""


def beginning(begun: WarmStart, start: Start = "warm") -> Iterator[str]:
    """What earlier tasks propose to a study that goes on so, and why these."""
    if start == "cold":
        once = "what earlier tasks propose is not tried any more"
        what = once if begun.proposals else "nothing of earlier tasks is used"
        yield f"Cold start, as was asked for: {what}."
        return
    known = sum(begun.tasks.values())
    if not known:
        return
    if not begun.proposals:
        left = f" ({begun.left_out} that would do not lie in this space)" if begun.left_out else ""
        yield f"Cold start: on {_tasks(begun)} nothing was better than what is tried anyhow{left}."
        return
    many = len(begun.proposals) > 1
    what = f"{len(begun.proposals)} strategies" if many else "one strategy"
    yield (
        f"Warm start from {_tasks(begun)}: after the first answers, {what} that did well there "
        f"{'are' if many else 'is'} tried while {'they are' if many else 'it is'} no worse than those."
    )
    if begun.nearest:
        near = ", ".join(f"{plain(name, 60)} ({far:.2f})" for name, far in begun.nearest)
        yield f"  the most alike, by distance of signatures: {near}; all tasks count the same"


def proposed(begun: WarmStart) -> dict[str, str]:
    """Why each strategy is proposed, by the strategy's key; without those of a newer automl-transfer."""
    found = {}
    for number, each in enumerate(begun.proposals, start=1):
        where = f"on {each.tasks} earlier tasks" if each.tasks > 1 else "on one earlier task"
        best = f"best on {plain(each.best_on, 60)}"
        if (key := _key(each.strategy)) is not None:
            found[key] = f"earlier {number}: mean rank {each.rank:.2f} (1 is the best) {where}, {best}"
    return found


def _tasks(begun: WarmStart) -> str:
    """Where earlier tasks are known from: "2 studies of this store (cats, dogs) and 3 imported tasks"."""
    parts = []
    for origin, number in begun.tasks.items():
        if origin == HERE:
            names = ", ".join(plain(name, 60) for name in begun.studies[-NAMED:])
            more = ", ..." if len(begun.studies) > NAMED else ""
            parts.append(f"{number} {'studies' if number > 1 else 'study'} of this store ({names}{more})")
        else:
            tasks = f"task{'s' * (number > 1)}"
            of_program = f"{number} {tasks} that {'come' if number > 1 else 'comes'} with the program"
            parts.append(of_program if origin == SHIPPED else f"{number} {origin} {tasks}")
    return " and ".join(parts)


def outcome(
    begun: WarmStart | None,
    records: Sequence[TrialRecord],
    first: Mapping[int, str],
    metric: str,
    first_rung: int,
    images: int | None = None,
    start: Start = "warm",
) -> Iterator[str]:
    """What a warm start brought, as far as its trials are known.

    Args:
        begun: How the study began; None where that is not known.
        records: Its trials.
        first: Which of them are first answers, by number.
        metric: By which it ranks.
        first_rung: Epochs to its first rung.
        images: That validate.
        start: How the study goes on.
    """
    if begun is None or not begun.proposals:
        return
    keys = proposed(begun)
    # A trial that crashed went on as another one: it is one strategy, by its latest.
    latest = {r.root: r for r in sorted(records, key=lambda r: r.number)}
    tried = [
        r for r in latest.values()
        if r.strategy is not None and r.strategy.key() in keys and r.root not in first
    ]  # fmt: skip
    curves = {root: _curve(r, metric) for root, r in latest.items()}
    if not any(curves[r.root] for r in tried):
        if start == "warm":
            yield "Warm start: none of the strategies that earlier tasks propose has been trained yet."
        return
    best = max(tried, key=lambda r: (max(curves[r.root].values(), default=0.0), -r.root))
    cold = [curves[number] for number in first if number in curves]
    value = max(curves[best.root].values())
    before = max((max(curve.values()) for curve in cold if curve), default=None)
    many = f"of {len(tried)} strategies" if len(tried) > 1 else "of one strategy"
    told = f"{many} that earlier tasks proposed, the best is trial {best.root} ({100 * value:.2f}%)"
    if verdict([curves[r.root] for r in tried], cold, first_rung, images) == "harms":
        yield (
            f"The warm start did not help: {told}, and the first answers were ahead after epoch "
            f"{first_rung}. The search went on cold."
        )
        return
    if before is None:
        yield f"Warm start: {told}."
        return
    end = "" if best.state is TrialState.COMPLETE else ", not trained to its end"
    brought = f"{100 * (value - before):.2f} points" if value > before else "nothing so far"
    yield f"The warm start brought {brought}: {told}{end}; the best first answer has {100 * before:.2f}%."


def _key(stored: str) -> str | None:
    try:
        return read_strategy(stored).key()
    except UnreadableRowError:
        return None


def _curve(record: TrialRecord, metric: str) -> dict[int, float]:
    return {epoch.epoch: epoch.score(metric) for epoch in record.epochs}
