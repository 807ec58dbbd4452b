"""Large studies: a worker reads a part of them, and what it must not lose is in that part."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.samplers import RandomSampler
from store_helpers import CRASH, DONE, draft, epoch, open_study
from waiting import until

from automl_transfer.domain.records import TrialState
from automl_transfer.domain.spec import SearchSpec
from automl_transfer.store import tables as t
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.snapshot import BEST
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.store.values import StudyHandle

MOST = 20


def filled(store: Store, study: StudyHandle, number: int) -> Trials:
    """Trials of which the first is the best one, the second has a label, and the third one runs on."""
    trials = Trials(store)
    for place in range(number):
        claim = trials.create(study, draft(place, "told" if place == 1 else ""), "w")
        assert claim is not None
        trials.record_epoch(claim, epoch(0), 0.1)
        if place % 7 == 6:
            trials.fail(claim, CRASH, retry=False)
        elif place != 2:
            trials.finish(claim, TrialState.COMPLETE, 0.9 if place == 0 else place / 1000, DONE)
    return trials


def test_a_limited_history_has_what_samplers_need(database_url: str) -> None:
    store, study = open_study(database_url)
    filled(store, study, 120)
    limited = SamplerHistory(store, study, most=MOST, compared=False)
    seen = {trial.number for trial in limited.trials()}
    complete = sorted((n for n in range(3, 120) if n % 7 != 6), reverse=True)
    assert seen == {0, 1, 2} | set(range(100, 120)) | set(complete[: BEST - 1])
    assert limited.best() == 0.9
    blank = limited.draft(RandomSampler(seed=0))[1]
    assert blank.number == limited.numbered() == 120
    # A pruner that compares sees all of them; the sampler beside it, the same part as before.
    whole = SamplerHistory(store, study, most=MOST)
    assert {trial.number for trial in whole.trials()} == seen
    assert {
        trial.number for trial in whole.draft(RandomSampler(seed=0))[0].get_trials(deepcopy=False)
    } == seen
    store.close()


def test_a_limited_history_follows_and_forgets(database_url: str) -> None:
    """What was outside and changes is seen; what has become old is dropped, but for the best."""
    store, study = open_study(database_url)
    trials = filled(store, study, 100)
    history = SamplerHistory(store, study, most=MOST, compared=False)
    before = len(history.trials())
    for place in range(100, 220):
        claim = trials.create(study, draft(place), "w")
        assert claim is not None
        trials.finish(claim, TrialState.COMPLETE, 0.95 if place == 101 else 0.0, DONE)
        assert len(history.trials()) <= max(before, MOST + BEST + 2) + 1
    assert history.best() == 0.95
    assert len(history._snapshot.by_number) < 150
    (running,) = (trial for trial in history.trials() if not trial.state.is_finished())
    assert running.number == 2
    store.close()


def test_a_budget_is_kept_to_the_trial_and_a_strategy_is_tried_once(database_url: str) -> None:
    """Retries take numbers, and are no strategies; of equal ones, however long, the second is refused."""
    store, study = open_study(database_url)
    trials = Trials(store)
    first = trials.create(study, draft(0), "w", limit=3, distinct=True)
    assert first is not None
    assert trials.fail(first, CRASH, retry=True) == 1
    assert trials.create(study, draft(0), "w", limit=3, distinct=True) is None
    numbers = [trials.create(study, draft(n), "w", limit=3, distinct=True) for n in (1, 2, 3)]
    assert [None if claim is None else claim.number for claim in numbers] == [2, 3, None]
    assert trials.is_full(study, 3)
    assert not trials.is_full(study, 4)
    store.close()


def test_steps_of_a_worker_use_indexes(postgres_url: str) -> None:
    """What every decision asks must not read all trials of a study."""
    store, study = open_study(postgres_url)
    filled(store, study, 5)
    said = sa.select(t.at_trials.c.trial_id).where(
        t.at_trials.c.study_id == study.study_id, t.said(t.at_trials.c.strategy) == "x"
    )
    last = sa.select(sa.func.max(t.trials.c.number)).where(t.trials.c.study_id == study.study_id)
    with store.engine.connect() as connection:
        connection.execute(sa.text("SET enable_seqscan = off"))
        for query, index in ((said, "ix_at_trials_said"), (last, "ix_at_trials_number")):
            text = query.compile(connection, compile_kwargs={"literal_binds": True})
            plan = "\n".join(connection.execute(sa.text(f"EXPLAIN {text}")).scalars())
            assert index in plan, plan
    store.close()


def test_sixty_four_workers_leave_no_connection_behind(postgres_url: str) -> None:
    """Each has a store of its own, with at most two connections while one thread works beside its heartbeat."""
    url = StoreURL.parse(postgres_url)
    store, study = open_study(postgres_url)
    count = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def connections() -> int:
        with store.engine.connect() as connection:
            return int(connection.execute(count).scalar_one())

    before = connections()
    others = [Store.open(url) for _ in range(64)]
    for number, other in enumerate(others):
        trials = Trials(other)
        claim = trials.create(study, draft(number), f"w{number}")
        assert claim is not None
        assert trials.beat([claim]) == []
        trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)
    assert before < connections() <= before + 2 * 64
    for other in others:
        other.close()
    # The server ends a session's process a moment after its connection was closed.
    until(lambda: connections() <= before + 1, on=lambda: f"{connections()} connections")
    store.close()


def test_a_study_says_how_much_its_sampler_learns_from(tmp_path: Path) -> None:
    assert SearchSpec(pruner="promote").compares is SearchSpec(pruner="none").compares is False
    assert SearchSpec(pruner="asha").compares
    assert "history" not in SearchSpec().model_dump()
    assert SearchSpec(history=1000).model_dump()["history"] == 1000
    with pytest.raises(ValueError, match="history"):
        SearchSpec(history=10)
