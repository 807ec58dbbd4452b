"""A task beside those that a store has seen: which are like it, and what scores of sources were worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from automl_transfer.data.signature import signature_of
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.errors import UserError
from automl_transfer.models.registry import get_source
from automl_transfer.reporting.suggested import suggestion

if TYPE_CHECKING:
    from automl_transfer.reporting.seen_tasks import Predicted, SeenTask
    from automl_transfer.store.store import Store


@dataclass(frozen=True)
class Comparison:
    """What is known of a task before anything is trained on it.

    Attributes:
        signature: The task in numbers.
        suggestion: What scores of sources suggest, a sentence without its end; empty without profiles.
        predicted: How well such scores ordered the sources of the store's tasks, the best first.
        nearest: The tasks of the store that are most like it, with their distances.
    """

    signature: TaskSignature
    suggestion: str = ""
    predicted: tuple[Predicted, ...] = ()
    nearest: tuple[tuple[float, SeenTask], ...] = ()

    def facts(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "signature": self.signature.model_dump(mode="json"),
            "suggestion": self.suggestion,
            "predicted": [
                {"score": each.score, "mean": each.mean, "taus": list(each.taus)} for each in self.predicted
            ],
            "nearest": [_seen_facts(apart, seen) for apart, seen in self.nearest],
        }


def _seen_facts(apart: float, seen: SeenTask) -> dict[str, Any]:
    won = seen.winner.strategy if seen.winner is not None else None
    return {
        "distance": apart,
        "task": seen.name,
        "studies": seen.studies,
        "metric": seen.metric,
        "score": seen.score,
        "strategy": None if won is None else won.model_dump(mode="json"),
        "description": None if won is None else won.describe(),
    }


def compare_task(
    task: LoadedTask, profiles: Sequence[ProfileRecord], store: Store | None = None
) -> Comparison:
    """Compare a task with those of a store.

    Args:
        task: Its training split alone counts.
        profiles: Of sources, with scores; none where they were not made.
        store: Only read; None where there is none.
    """
    found = Comparison(signature_of(task, profiles), suggestion(profiles))
    if store is None:
        return found
    from automl_transfer.reporting.seen_tasks import nearest, predicted, seen_tasks

    tasks = seen_tasks(store)
    sizes = sizes_of({name for seen in tasks for name in seen.by_source})
    return replace(
        found, predicted=tuple(predicted(tasks, sizes)), nearest=tuple(nearest(found.signature, tasks))
    )


def sizes_of(sources: Iterable[str]) -> dict[str, int]:
    """Bytes of the weights of these sources, as far as they are known without loading them; 0 for scratch."""
    found: dict[str, int] = {}
    for name in sources:
        try:
            size = get_source(name).info().size_bytes
        except UserError:  # of a package or a file that is not here
            continue
        if size is not None:
            found[name] = size
    return found
