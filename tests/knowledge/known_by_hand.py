"""Knowledge that is made up: what is good is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl_transfer.domain.signature import TaskSignature
from automl_transfer.domain.strategy import SPACE_VERSION, Strategy
from automl_transfer.domain.warm import FirstAnswer
from automl_transfer.knowledge.document import SCHEMA, Knowledge, KnownStrategy, KnownTask, StoredStrategy
from automl_transfer.knowledge.portfolio import Earlier

SOLVED = Strategy(tune_mode="closed_form", truncation=6, pool=2, taps=3)
TUNED = Strategy(truncation=6, pool=2, taps=3, head_lr_mult=0.03)
FASTER = TUNED.model_copy(update={"learning_rate": 3e-4})
WHOLE = Strategy(tune_mode="full", norm_policy="train", head_init="he", learning_rate=1e-3, batch=32)
SCRATCH = WHOLE.model_copy(update={"source": "scratch"})


def signature(images: int = 600, classes: int = 10, **changes: Any) -> TaskSignature:
    each = images // classes
    facts = {
        "task": "a" * 64, "images": images, "classes": classes, "least": each, "most": images - each * (classes - 1),
        "entropy": 1.0, "width": 32.0, "height": 32.0, "resolution": 32, "channels": 3,
        "channel_mean": (0.5, 0.5, 0.5), "channel_std": (0.2, 0.2, 0.2),
    }  # fmt: skip
    return TaskSignature.model_validate({**facts, **changes})


def task(
    ranked: Mapping[Strategy, float],
    answers: Mapping[Strategy, FirstAnswer] | None = None,
    **changes: Any,
) -> KnownTask:
    """A task on which these strategies have these ranks; the profile's head and it, tuned, are first answers."""
    first: Mapping[Strategy, FirstAnswer] = (
        {SOLVED: "profile", TUNED: "tuned"} if answers is None else answers
    )
    strategies = tuple(
        KnownStrategy(
            strategy=StoredStrategy.of(strategy), rank=rank, curve=(0.5, 1.0), seconds=1.0,
            answer=first.get(strategy),
        )
        for strategy, rank in ranked.items()
    )  # fmt: skip
    values: dict[str, Any] = {"signature": signature(), "solved": StoredStrategy.of(SOLVED), **changes}
    return KnownTask(strategies=strategies, **values)


def knowledge(*tasks: KnownTask) -> Knowledge:
    return Knowledge(schema_=SCHEMA, space=SPACE_VERSION, tasks=tasks)


def earlier(*tasks: KnownTask) -> list[Earlier]:
    return [Earlier.of(each, f"task {number}", "shipped") for number, each in enumerate(tasks, start=1)]
