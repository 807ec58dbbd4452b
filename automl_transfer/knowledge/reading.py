"""Reads files of knowledge from strangers: bounded, checked, migrated; what cannot be used is counted."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from automl_transfer.domain.strategy import SPACE_VERSION
from automl_transfer.domain.strict_json import parse_json, read_text, validate
from automl_transfer.errors import ConfigurationError, UnreadableRowError
from automl_transfer.knowledge.document import SCHEMA, Knowledge, KnownStrategy, KnownTask

NEWER, UNREADABLE, TWICE = "of a newer space", "that cannot be read", "named twice"


@dataclass(frozen=True)
class Read:
    """What a file says that can be used here.

    Attributes:
        dropped: Strategies that were left out, by reason.
    """

    knowledge: Knowledge
    dropped: dict[str, int]

    @property
    def strategies(self) -> int:
        """How many there are, over all tasks."""
        return sum(len(task.strategies) for task in self.knowledge.tasks)

    def summary(self) -> str:
        """In words, such as "2 tasks, 40 strategies (3 of a newer space left out)"."""
        tasks, strategies = len(self.knowledge.tasks), self.strategies
        words = f"{tasks} task{'s' * (tasks != 1)}, "
        words += f"{strategies} strateg{'y' if strategies == 1 else 'ies'}"
        left = ", ".join(f"{number} {why}" for why, number in self.dropped.items())
        return f"{words} ({left} left out)" if left else words


def read_knowledge(path: Path) -> Read:
    """Read a file of at most 10 MB.

    Raises:
        ConfigurationError: It is no file of knowledge, or one of a form or of strategies that only a newer
            automl-transfer knows; says which, and every mistake with its key.
    """
    return parse_knowledge(read_text(path), str(path))


def parse_knowledge(text: str, where: str) -> Read:
    """Read the text of a file; see `read_knowledge`."""
    value = parse_json(text, where)
    schema = value.get("schema")
    if schema != SCHEMA:
        newer = isinstance(schema, str) and schema.startswith("automl-transfer/knowledge/")
        todo = (
            "another version of automl-transfer wrote it: export it again with this one, or install that"
            if newer
            else "write one with 'automl-transfer knowledge export'"
        )
        raise ConfigurationError(f"schema: must be {SCHEMA}, got {str(schema)[:80]!r}: {todo}", where)
    return usable(validate(Knowledge, value, where), where)


def usable(knowledge: Knowledge, where: str) -> Read:
    """Without the strategies that this program cannot read; the others are ranked anew.

    Ranks are of the task's own strategies whatever a file says: no task can say that all it has is best.

    Raises:
        ConfigurationError: Nothing is left, because all is of a newer space.
    """
    dropped: Counter[str] = Counter()
    tasks = []
    for task in knowledge.tasks:
        kept = _readable(task, dropped)
        if kept:
            strategies = tuple(
                known.model_copy(update={"rank": rank})
                for known, rank in zip(kept, ranks([k.rank for k in kept]), strict=True)
            )
            tasks.append(_with_a_readable_head(task).model_copy(update={"strategies": strategies}))
    if not tasks and dropped[NEWER]:
        raise ConfigurationError(
            f"space: must be {SPACE_VERSION} or older where no strategy can be read otherwise, got "
            f"{knowledge.space}: a newer automl-transfer wrote it, install that",
            where,
        )
    found = knowledge.model_copy(update={"space": SPACE_VERSION, "tasks": tuple(tasks)})
    return Read(found, dict(dropped))


def _readable(task: KnownTask, dropped: Counter[str]) -> list[KnownStrategy]:
    kept: dict[str, KnownStrategy] = {}
    for known in task.strategies:
        try:
            key = known.strategy.strategy().key()
        except UnreadableRowError as error:
            dropped[NEWER if error.newer else UNREADABLE] += 1
            continue
        if key in kept:
            dropped[TWICE] += 1
            continue
        kept[key] = known
    return list(kept.values())


def _with_a_readable_head(task: KnownTask) -> KnownTask:
    try:
        if task.solved is not None:
            task.solved.strategy()
    except UnreadableRowError:
        return task.model_copy(update={"solved": None})
    return task


def ranks(scores: Iterable[float]) -> list[float]:
    """Of some scores, where more is better: 1 for the best, 0 for the last, ties shared; 1 where it is alone.

    >>> ranks([0.9, 0.5, 0.9, 0.1])
    [0.8333, 0.3333, 0.8333, 0.0]
    """
    values = list(scores)
    order = sorted(values)
    last = max(1, len(values) - 1)
    found = []
    for value in values:
        low, high = bisect.bisect_left(order, value), bisect.bisect_right(order, value)
        found.append(round((low + high - 1) / 2 / last, 4) if len(values) > 1 else 1.0)
    return found
