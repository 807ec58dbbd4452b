"""A file of knowledge: tasks by their signatures, and how good strategies were on each, as ranks.

There are no images in it, no paths, no scores that another dataset could be compared by, and no names but
those that were asked for. What a file says is only ever a proposal: a search tries what its own space admits.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, field_validator

from automl_transfer.domain.names import MAX_LABEL, name_mistake, public_source
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.domain.spec import Scalar
from automl_transfer.domain.stored_strategy import read_strategy, store_strategy
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.strict_json import Frozen, unsaid
from automl_transfer.domain.warm import FirstAnswer

SCHEMA_VERSION = 1
SCHEMA = f"automl-transfer/knowledge/{SCHEMA_VERSION}"
MOST_TASKS, MOST_STRATEGIES, MOST_POINTS = 1_000, 1_000, 12

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class StoredStrategy(Frozen):
    """A strategy as stores keep it (`domain.stored_strategy`): what differs from the first defaults.

    Attributes:
        space: Version of the space that wrote it.
        set: Dimension to value.
    """

    space: int = Field(ge=1, le=10_000)
    set: dict[Annotated[str, Field(max_length=64)], Scalar] = Field(max_length=200)

    @classmethod
    def of(cls, strategy: Strategy) -> StoredStrategy:
        """Without the place where its source's file lies."""
        known = strategy.model_copy(update={"source": public_source(strategy.source)})
        return cls.model_validate_json(store_strategy(known), strict=True)

    def strategy(self) -> Strategy:
        """The strategy.

        Raises:
            UnreadableRowError: This program does not know a dimension or a value; `newer` where a later one
                does.
        """
        return read_strategy(self.model_dump_json()).canonical()


class KnownStrategy(Frozen):
    """How good a strategy was on a task, beside the others that came to their end there.

    Attributes:
        strategy: What was trained.
        rank: 1 for the best of the task, 0 for the last one, ties shared.
        curve: Its best metric so far over the task's best one, after epochs evenly taken from all of them.
        seconds: Of its training, over the task's median.
        answer: Which of the first answers it was.
    """

    strategy: StoredStrategy
    rank: Share
    curve: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = Field(default=(), max_length=MOST_POINTS)
    seconds: float | None = Field(default=None, gt=0.0, le=1e6, exclude_if=unsaid)
    answer: FirstAnswer | None = Field(default=None, exclude_if=unsaid)


class KnownTask(Frozen):
    """A task, and what was tried on it.

    Attributes:
        signature: By which it is compared with others; None where its study was older than signatures.
        name: What its data are called, where that was asked for.
        balanced: Its metric counts all classes alike.
        mirrors: Its images may be mirrored.
        solved: The head that its profile chose, from which the others left out what they share with it.
        strategies: Those that came to their end.
    """

    signature: TaskSignature | None = None
    name: str | None = Field(default=None, min_length=1, max_length=MAX_LABEL, exclude_if=unsaid)
    balanced: bool = False
    mirrors: bool = False
    solved: StoredStrategy | None = None
    strategies: tuple[KnownStrategy, ...] = Field(min_length=1, max_length=MOST_STRATEGIES)

    @field_validator("name")
    @classmethod
    def _presentable(cls, name: str | None) -> str | None:
        if name is not None and (mistake := name_mistake(name)) is not None:
            raise ValueError(f"the name of a task {mistake}")
        return name


class Knowledge(Frozen):
    """A file of knowledge.

    Attributes:
        schema_: Which form the file has.
        space: Version of the space of strategies of the program that wrote it.
        tasks: What is known.
    """

    schema_: Literal["automl-transfer/knowledge/1"] = Field(alias="schema")
    space: int = Field(ge=1, le=10_000)
    tasks: tuple[KnownTask, ...] = Field(max_length=MOST_TASKS)

    def to_json(self) -> str:
        """A strategy a line: small, and fit for version control."""
        head = {"schema": self.schema_, "space": self.space}
        tasks = ",\n".join(_lines(task) for task in self.tasks)
        return f'{json.dumps(head)[:-1]}, "tasks": [\n{tasks}\n]}}\n'


def _lines(task: KnownTask) -> str:
    facts = task.model_dump(mode="json")
    strategies = ",\n".join(f"  {_compact(each)}" for each in facts.pop("strategies"))
    return f' {_compact(facts)[:-1]}, "strategies": [\n{strategies}\n ]}}'


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
