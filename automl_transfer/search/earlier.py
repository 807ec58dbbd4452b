"""What this machine knows of earlier tasks, and what that proposes to a new study.

Studies of the same store count as earlier ones, with what came to its end there; so do the files of knowledge
that a user added, and the one that ships with the program.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from automl_transfer.domain.measured import BALANCED
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.domain.stored_strategy import store_strategy
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.warm import HERE, IMPORTED, SHIPPED, FirstAnswer, Proposal, WarmStart
from automl_transfer.errors import AutomlTransferError
from automl_transfer.knowledge import library
from automl_transfer.knowledge.document import (
    MOST_POINTS,
    MOST_STRATEGIES,
    MOST_TASKS,
    KnownStrategy,
    KnownTask,
    StoredStrategy,
)
from automl_transfer.knowledge.portfolio import (
    MOST,
    OF_PROFILE,
    SCRATCH,
    Changes,
    Chosen,
    Earlier,
    choose,
    of_scratch,
)
from automl_transfer.knowledge.reading import ranks
from automl_transfer.knowledge.similarity import distance
from automl_transfer.search.warm import admits
from automl_transfer.space.space import Space
from automl_transfer.store.signatures import Signatures
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import StudyHandle
from automl_transfer.store.warm import first_answers

NAMED = 3
"""The nearest tasks that are told."""
MOST_STUDIES = 50
"""The latest so many studies of a store are looked at."""

log = logging.getLogger(__name__)


def begin(store: Store, study: StudyHandle, space: Space, default: Strategy | None) -> WarmStart:
    """What a study whose first answers are enqueued begins with, `default` after that.

    Args:
        store: With other studies of these.
        study: Which one.
        space: Of the study, suited to its task.
        default: The default strategy, where it is to be tried.
    """
    if study.spec.search.start == "cold":
        return WarmStart()
    solved, first = answered(Trials(store).records(study), first_answers(store, study))
    earlier = earlier_tasks(store, study)
    begun = propose(
        earlier,
        space,
        solved,
        [*first, *([] if default is None else [default])],
        mirrors=study.task.may("mirror"),
        balanced=study.task.metric in BALANCED,
    )
    if not begun.proposals:
        return begun
    mine = Signatures(store).of(study.task.fingerprint)
    afterwards = "" if default is None else store_strategy(default)
    return begun.model_copy(update={"nearest": _nearest(mine, earlier), "afterwards": afterwards})


def _nearest(mine: TaskSignature | None, earlier: Sequence[Earlier]) -> tuple[tuple[str, float], ...]:
    """Names of the tasks that are most like this one, with their distances."""
    if mine is None:
        return ()
    apart = [
        (round(distance(mine, each.known.signature), 3), each.name)
        for each in earlier
        if each.known.signature is not None
    ]
    return tuple((name, far) for far, name in sorted(apart)[:NAMED])


def propose(
    earlier: Sequence[Earlier],
    space: Space,
    solved: Mapping[str, Any],
    first: Sequence[Strategy],
    *,
    mirrors: bool,
    balanced: bool,
    weights: Sequence[float] | None = None,
    most: int = MOST,
) -> WarmStart:
    """What earlier tasks propose to a study.

    Args:
        earlier: Those tasks.
        space: Of the study, suited to its task.
        solved: What its profile chose.
        first: Its first answers.
        mirrors: Its images may be mirrored.
        balanced: Its metric counts all classes alike.
        weights: How much each of the earlier tasks counts; None: all the same.
        most: Strategies at most.
    """
    solved = solved or space.default().model_dump(include=set(OF_PROFILE))

    def lay(changes: Changes) -> Strategy | None:
        try:
            found = changes.onto(solved, mirrors=mirrors, balanced=balanced)
        except ValueError:
            return None
        return found if admits(space, found, solved) else None

    anyhow = frozenset(each.key() for each in first)
    found = choose(earlier, weights or [1.0] * len(earlier), lay, anyhow, most)
    chosen = [
        *found.chosen,
        *_scratch(earlier, space, lay, {*anyhow, *(c.strategy.key() for c in found.chosen)}),
    ]
    counted: dict[str, int] = {}
    for task in earlier:
        counted[task.origin] = counted.get(task.origin, 0) + 1
    return WarmStart(
        tasks=counted,
        studies=tuple(task.name for task in earlier if task.origin == HERE),
        proposals=tuple(
            Proposal(
                strategy=store_strategy(each.strategy), rank=each.rank, tasks=each.tasks, best_on=each.best_on
            )
            for each in chosen
        ),
        left_out=found.left_out,
    )


def _scratch(
    earlier: Sequence[Earlier],
    space: Space,
    lay: Callable[[Changes], Strategy | None],
    known: set[str],
) -> list[Chosen]:
    """The best known way to train from scratch, where the space has it: no source may be like a new task."""
    if not any(source.startswith(SCRATCH) for source in space.sources):
        return []
    found = of_scratch(earlier, lay)
    return [] if found is None or found.strategy.key() in known else [found]


def earlier_tasks(store: Store, study: StudyHandle | None = None) -> list[Earlier]:
    """All earlier tasks that are known here; without `study` itself."""
    found = [
        Earlier.of(known, each.name, HERE)
        for each, known in of_store(store, None if study is None else study.identity, MOST_STUDIES)
    ]
    for origin, path_and_known in (
        (IMPORTED, [(path.stem, knowledge) for path, knowledge in library.imported()]),
        (SHIPPED, [(SHIPPED, library.shipped())]),
    ):
        for stem, knowledge in path_and_known:
            for number, known in enumerate(knowledge.tasks, start=1):
                found.append(Earlier.of(known, known.name or f"{stem}, task {number}", origin))
    return found


def of_store(
    store: Store, but: str | None = None, most: int = MOST_TASKS
) -> list[tuple[StudyHandle, KnownTask]]:
    """The studies of a store that have something to tell; those that cannot be read are left out.

    Args:
        store: Where they are.
        but: Identity of one that is left out.
        most: The latest so many are looked at.
    """
    found = []
    entries = [each for each in store.studies() if each.ours and each.identity != but]
    for entry in entries[-most:]:
        try:
            study = store.study(entry.identity or entry.name)
            known = of_study(store, study)
        except AutomlTransferError as error:
            log.info("study %s is not learnt from: %s", entry.name, error)
            continue
        if known is not None:
            found.append((study, known))
    return found


def of_study(store: Store, study: StudyHandle) -> KnownTask | None:
    """What a study tells of its task; None where no strategy came to its end."""
    answers, records = first_answers(store, study), Trials(store).records(study)
    metric = study.task.metric
    complete = {r.root: r for r in records if r.can_be_ranked}
    scored = [(r, score) for r in complete.values() if (score := _score(r, metric)) is not None]
    scored.sort(key=lambda each: -each[1])
    scored = scored[:MOST_STRATEGIES]
    if not scored:
        return None
    best = scored[0][1]
    trained = [record.seconds for record, _ in scored if len(record.epochs) > 1 and record.seconds > 0]
    usual = statistics.median(trained) if trained else 0.0
    strategies = tuple(
        KnownStrategy(
            strategy=StoredStrategy.of(_strategy(record)),
            rank=rank,
            curve=curve_of([epoch.score(metric) for epoch in record.epochs], best),
            seconds=min(1e6, max(1e-6, record.seconds / usual)) if usual and record.seconds else None,
            answer=answers.get(record.root),
        )
        for (record, _), rank in zip(scored, ranks([score for _, score in scored]), strict=True)
    )
    solved, _ = answered(records, answers)
    return KnownTask(
        signature=Signatures(store).of(study.task.fingerprint),
        balanced=metric in BALANCED,
        mirrors=study.task.may("mirror"),
        solved=StoredStrategy.of(Strategy.of({**Strategy().model_dump(), **solved})) if solved else None,
        strategies=strategies,
    )


def answered(
    records: Sequence[TrialRecord], names: Mapping[int, FirstAnswer]
) -> tuple[dict[str, Any], list[Strategy]]:
    """What a study's profile chose, by the head that training goes on from; and all its first answers."""
    strategies = {
        names[record.number]: record.strategy
        for record in records
        if record.number in names and record.strategy is not None
    }
    head = strategies.get("tuned") or strategies.get("profile")
    solved = {} if head is None else head.model_dump(include=set(OF_PROFILE))
    return solved, list(strategies.values())


def curve_of(values: Sequence[float], best: float) -> tuple[float, ...]:
    """The best so far over the task's best one, after at most 12 epochs, evenly taken, the last included."""
    if best <= 0.0 or not values:
        return ()
    so_far, top = [], -math.inf
    for value in values:
        top = max(top, value)
        so_far.append(round(min(1.0, max(0.0, top / best)), 4))
    count = min(MOST_POINTS, len(so_far))
    return tuple(
        so_far[-1 - round((count - 1 - n) * (len(so_far) - 1) / max(1, count - 1))] for n in range(count)
    )


def _strategy(record: TrialRecord) -> Strategy:
    assert record.strategy is not None
    return record.strategy


def _score(record: TrialRecord, metric: str) -> float | None:
    best = record.best_epoch(metric)
    score = None if best is None else best.score(metric)
    return score if score is not None and math.isfinite(score) else None
