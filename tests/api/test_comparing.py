"""A task beside those of a store: the nearest of them and what won there, and what scores were worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automl_transfer.api.comparing import compare_task, sizes_of
from automl_transfer.data.in_memory import task_in_memory
from automl_transfer.data.signature import signature_of
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialState
from automl_transfer.domain.signature import TaskSignature
from automl_transfer.domain.spec import StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.reporting.seen_tasks import predicted, seen_tasks, weighted_tau
from automl_transfer.store.signatures import Signatures
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import TrialDraft

LITE = [f"efficientnet-lite{number}" for number in range(3)]


def loaded(n: int, classes: int, side: int = 16, seed: int = 0) -> LoadedTask:
    images = np.random.default_rng(seed).integers(0, 256, (n, side, side, 1), dtype=np.uint8)
    names = tuple(f"c{number}" for number in range(classes))
    return task_in_memory(images, np.arange(n) % classes, names, held_out=0.2, seed=0).loaded


def epoch(accuracy: float) -> EpochResult:
    return EpochResult(
        epoch=0, train_loss=1.0, validation_loss=1.0, accuracy=accuracy, balanced_accuracy=accuracy,
        macro_f1=accuracy, learning_rate=1e-3, seconds=0.1,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(StoreURL.parse(f"sqlite:///{tmp_path / 's.db'}")) as opened:
        yield opened


def searched(
    store: Store,
    name: str,
    task: LoadedTask,
    reached: Mapping[str, float],
    scores: Mapping[str, Mapping[str, float]] | None = None,
) -> TaskSignature:
    """A study that tried each source once, whose scores on one cut were these."""
    spec = StudySpec(name=name, task=TaskSpec(dataset=name), space={"source": tuple(reached)})
    study = store.create_study(
        spec, task.task.model_copy(update={"name": name}), artifact_url="a", sources={}
    )
    trials = Trials(store)
    for source, accuracy in reached.items():
        claim = trials.create(study, TrialDraft(Strategy(source=source), {}, {}, ""), "w", limit=None)
        assert claim is not None
        trials.record_epoch(claim, epoch(accuracy), accuracy)
        trials.finish(claim, TrialState.COMPLETE, accuracy, StopReason(kind=StopKind.COMPLETED))
    signature = signature_of(task).model_copy(
        update={
            "measured": dict.fromkeys(reached, 100),
            "scores": {
                score: {source: {4: value} for source, value in by.items()}
                for score, by in (scores or {}).items()
            },
        }
    )
    Signatures(store).keep(signature)
    return signature


def test_the_nearest_tasks_come_first_with_what_won_there(store: Store) -> None:
    searched(store, "twins", loaded(60, 3, seed=1), {LITE[0]: 0.6, LITE[1]: 0.9})
    searched(store, "many", loaded(400, 40), {LITE[0]: 0.7})
    searched(store, "twins-again", loaded(60, 3, seed=1), {LITE[2]: 0.95})
    found = compare_task(loaded(60, 3, seed=2), [], store)

    assert [seen.name for _, seen in found.nearest] == ["twins-again", "many"]
    (near, first), (far, _) = found.nearest
    assert near < 0.1 < far
    assert first.studies == ["twins", "twins-again"]
    assert first.winner is not None
    assert first.winner.strategy is not None
    assert (first.winner.strategy.source, first.score) == (LITE[2], 0.95)
    facts: dict[str, Any] = found.facts()["nearest"][0]
    assert (facts["task"], facts["score"]) == ("twins-again", 0.95)
    assert facts["strategy"]["source"] == LITE[2]


def test_scores_are_worth_what_their_orders_of_the_sources_were(store: Store) -> None:
    searched(
        store, "one", loaded(60, 3, seed=1), {LITE[0]: 0.6, LITE[1]: 0.7, LITE[2]: 0.9},
        {"right": {LITE[0]: 1.0, LITE[1]: 2.0, LITE[2]: 3.0}, "wrong": {LITE[0]: 3.0, LITE[1]: 2.0, LITE[2]: 1.0}},
    )  # fmt: skip
    searched(
        store, "other", loaded(60, 3, seed=2), {LITE[0]: 0.9, LITE[1]: 0.8, LITE[2]: 0.7},
        {"right": {LITE[0]: 3.0, LITE[1]: 2.0, LITE[2]: 1.0}},
    )  # fmt: skip
    searched(
        store, "equal", loaded(60, 3, seed=3), dict.fromkeys(LITE, 0.5), {"right": dict.fromkeys(LITE, 1.0)}
    )
    found = {each.score: list(each.taus) for each in compare_task(loaded(60, 3), [], store).predicted}

    assert found.pop("right") == pytest.approx([1.0, 1.0])
    assert found.pop("wrong") == pytest.approx([-1.0])
    assert found.pop("larger first") == pytest.approx([1.0, -1.0])
    assert found == {}
    assert sizes_of(LITE)[LITE[0]] < sizes_of(LITE)[LITE[2]]


def test_sources_that_were_seen_on_other_images_are_not_compared(store: Store) -> None:
    signature = searched(
        store, "one", loaded(60, 3), {LITE[0]: 0.6, LITE[1]: 0.7, LITE[2]: 0.9},
        {"right": {LITE[0]: 1.0, LITE[1]: 2.0, LITE[2]: 0.0}},
    )  # fmt: skip
    (seen,) = seen_tasks(store)
    seen.signature = signature.model_copy(update={"measured": {LITE[0]: 100, LITE[1]: 100, LITE[2]: 900}})
    found = {each.score: each.taus for each in predicted([seen], sizes_of(LITE))}
    assert found == {"right": (1.0,), "larger first": (1.0,)}


def test_a_store_without_tasks_says_nothing(store: Store) -> None:
    found = compare_task(loaded(60, 3), [], store)
    assert (found.nearest, found.predicted, found.suggestion) == ((), (), "")
    assert found.signature == compare_task(loaded(60, 3), []).signature


def test_mistakes_at_the_top_weigh_most() -> None:
    reached = [0.1, 0.2, 0.3, 0.4]
    top, bottom = weighted_tau([1, 2, 4, 3], reached), weighted_tau([2, 1, 3, 4], reached)
    assert top is not None
    assert bottom is not None
    assert top < bottom < 1.0
    assert weighted_tau([5, 5, 5, 5], reached) == 0.0
    assert weighted_tau([1, 2, 3, 4], [0.5] * 4) is None
