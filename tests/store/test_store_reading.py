"""Reading large and foreign studies in few queries, and the sampler's history."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import optuna
import pytest
import sqlalchemy as sa
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from sqlalchemy import event
from store_helpers import CRASH, DONE, SPACE, draft, epoch, open_study

from automl_transfer.domain.records import TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import TrialLostError
from automl_transfer.store import tables as t
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle, TrialDraft

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def opened(database_url: str) -> Iterator[tuple[Store, StudyHandle]]:
    store, study = open_study(database_url)
    yield store, study
    store.close()


class Queries:
    """Counts the statements of a store."""

    def __init__(self, store: Store) -> None:
        self.count = 0
        event.listen(store.engine, "before_cursor_execute", self._one)

    def _one(self, *_: object) -> None:
        self.count += 1

    def taken(self) -> int:
        count, self.count = self.count, 0
        return count


def created(trials: Trials, study: StudyHandle, number: int) -> Claim:
    claim = trials.create(study, draft(number), "w", limit=None)
    assert claim is not None
    return claim


def test_records_of_a_large_foreign_study_take_a_few_queries(opened: tuple[Store, StudyHandle]) -> None:
    store, _ = opened
    plain = optuna.create_study(study_name="plain", storage=store.optuna_storage)
    with store.engine.begin() as connection:
        state, kind = optuna.trial.TrialState.COMPLETE, t.values.c.value_type.type.enum_class.FINITE
        ids = range(1001, 6001)
        connection.execute(
            sa.insert(t.trials),
            [{"trial_id": i, "number": i - 1001, "study_id": plain._study_id, "state": state} for i in ids],
        )
        connection.execute(
            sa.insert(t.values),
            [{"trial_id": i, "objective": 0, "value": i / 6000, "value_type": kind} for i in ids],
        )
    queries = Queries(store)
    records = Trials(store).records(plain._study_id)
    assert queries.taken() <= 5
    assert [r.number for r in records] == [r.root for r in records] == list(range(5000))
    assert records[-1].value == 1.0
    store.optuna_storage.remove_session()


def test_records_take_as_many_queries_as_before_however_many_trials(
    opened: tuple[Store, StudyHandle],
) -> None:
    store, study = opened
    trials = Trials(store)
    queries = Queries(store)
    taken = []
    for number in range(10):
        claim = created(trials, study, number)
        trials.record_epoch(claim, epoch(0), 0.5)
        queries.taken()
        assert len(trials.records(study)) == number + 1
        taken.append(queries.taken())
    assert len(set(taken)) == 1


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_sampling_offline_suggests_what_optuna_would(opened: tuple[Store, StudyHandle], kind: str) -> None:
    """The history shows samplers the same study as Optuna's own storage, running trials included."""
    store, study = opened
    trials = Trials(store)
    for number in range(15):
        claim = created(trials, study, 3 * number)
        trials.record_epoch(claim, epoch(0), number / 20)
        if number % 4 == 3:
            trials.fail(claim, CRASH, retry=False)
        elif number < 13:
            state = TrialState.PRUNED if number % 5 == 1 else TrialState.COMPLETE
            trials.finish(claim, state, number / 20, DONE)

    def sampler() -> BaseSampler:
        if kind == "random":
            return RandomSampler(seed=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TPESampler(seed=3, n_startup_trials=4, group=True)

    history = SamplerHistory(store, study)
    offline = suggest(history, sampler())
    plain = optuna.load_study(study_name="s", storage=store.optuna_storage, sampler=sampler())
    trial = plain.ask(SPACE)
    assert offline == trial.params
    assert {x.number: (x.state, x.params, x.value, x.intermediate_values) for x in plain.trials[:-1]} == {
        x.number: (x.state, x.params, x.value, x.intermediate_values)
        for x in history.draft(sampler())[0].trials[:-1]
    }
    plain._storage.remove_session()


def suggest(history: SamplerHistory, sampler: BaseSampler) -> dict[str, object]:
    study, trial = history.draft(sampler)
    sampler.before_trial(study, trial)
    space = sampler.infer_relative_search_space(study, trial)
    params = sampler.sample_relative(study, trial, space)
    for name, distribution in SPACE.items():
        if name not in params:
            params[name] = sampler.sample_independent(study, trial, name, distribution)
    return {name: params[name] for name in SPACE}


def test_view_follows_the_study_with_few_queries(opened: tuple[Store, StudyHandle]) -> None:
    store, study = opened
    trials = Trials(store)
    history, sampler = SamplerHistory(store, study), TPESampler(seed=0, n_startup_trials=5)
    queries = Queries(store)
    for number in range(30):
        queries.taken()
        params = suggest(history, sampler)
        assert queries.taken() <= 8
        seen, blank = history.draft(sampler)
        assert blank.number == number == len(seen.trials)
        claim = trials.create(study, TrialDraft(Strategy(**params), params, SPACE), "w", limit=None)  # type: ignore[arg-type]
        assert claim is not None
        assert claim.number == number
        assert history.trials()[-1].params == params
        trials.finish(claim, TrialState.COMPLETE, float(params["freeze_depth"]) / 8, DONE)  # type: ignore[arg-type]
    assert history.draft(sampler)[0].best_value == max(r.value or 0 for r in trials.records(study))


class Recorder(BasePruner):
    """Notes the curve it is shown, and a rung, as SuccessiveHalving does."""

    def __init__(self) -> None:
        self.seen: list[dict[int, float]] = []

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        self.seen.append(dict(study.trials[0].intermediate_values))
        study._storage.set_trial_system_attr(trial._trial_id, "completed_rung_0", 0.5)
        return len(self.seen) == 3


def test_pruners_see_curves_of_now_and_their_notes_reach_everyone(
    opened: tuple[Store, StudyHandle],
) -> None:
    store, study = opened
    trials = Trials(store)
    history, pruner = SamplerHistory(store, study), Recorder()
    claim = created(trials, study, 1)
    for number in range(3):
        trials.record_epoch(claim, epoch(number), number / 10)
        assert history.should_prune(pruner, claim.trial_id) == (number == 2)
        assert pruner.seen[-1] == {n: n / 10 for n in range(number + 1)}
    other = SamplerHistory(store, study)
    assert other.trials()[0].system_attrs["completed_rung_0"] == 0.5
    trials.finish(claim, TrialState.COMPLETE, 0.5, DONE)
    with pytest.raises(TrialLostError):
        history.should_prune(pruner, claim.trial_id)
