"""Samplers and pruners on a real store: what they see, what they propose, and that they write nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection
from search_helpers import DONE, NARROW, digits, epoch, open_study

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.strategy import DIMENSIONS, Strategy
from automl_transfer.errors import TrialLostError
from automl_transfer.search.beginning import Beginning
from automl_transfer.search.draft import draw, fixed_draft
from automl_transfer.search.promoting import Promotion
from automl_transfer.search.proposals import Proposals
from automl_transfer.search.samplers import PRUNERS, SAMPLERS, make_pruner, make_sampler
from automl_transfer.space.space import Space
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, StudyHandle

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def task() -> LoadedTask:
    return digits()


def run(store: Store, study: StudyHandle, count: int, seed: int) -> list[dict[str, Any]]:
    """Draw, create and finish trials whose score rises with the transferred depth."""
    space, trials, history = (
        Space.from_settings(study.spec.space),
        Trials(store),
        SamplerHistory(store, study),
    )
    sampler = make_sampler(study.spec.search, seed)
    drawn = []
    for _ in range(count):
        draft = draw(history, sampler, space)
        ranged = {dimension.name: dimension for dimension in space.searched}
        # Norm layers follow every weight of this source.
        assert set(draft.params) == set(draft.strategy.active()) & set(ranged) - {"weight_scale"}
        for name, value in draft.params.items():
            dimension = ranged[name]
            inside = (
                value in dimension.choices if dimension.choices else dimension.low <= value <= dimension.high
            )
            assert inside, (name, value)
            assert getattr(draft.strategy, name) == value
        claim = trials.create(study, draft, "w")
        assert claim is not None
        score = 0.5 + draft.strategy.transfer_depth / 20
        trials.record_epoch(claim, epoch(1, score), score)
        trials.finish(claim, TrialState.COMPLETE, score, DONE)
        drawn.append(dict(draft.params))
    return drawn


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_stay_in_range_and_repeat_for_a_seed(tmp_path: Path, task: LoadedTask, sampler: str) -> None:
    whole = {name: "search" for name, d in DIMENSIONS.items() if name != "source"}
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        store, study = open_study(tmp_path / name, task, whole, sampler=sampler, startup_trials=3)
        with store:
            found.append(run(store, study, 7, seed))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_conditional_space_is_learnt_and_its_ends_are_reached(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, NARROW)
    with store:
        drawn = run(store, study, 60, seed=0)
        late = [params["transfer_depth"] for params in drawn[30:]]
        assert 8 in late
        assert sum(late) / len(late) > 5
        assert len({params["tune_mode"] for params in drawn}) == 3


def test_a_study_keeps_the_choices_that_it_began_with(tmp_path: Path, task: LoadedTask) -> None:
    """A program that knows more methods goes on with what "search" meant when the study was made."""
    whole: dict[str, Any] = {"anchor": "search", "tune_mode": "full", "learning_rate": "search"}
    store, study = open_study(tmp_path, task, whole, startup_trials=3)
    then = {**whole, "anchor": ("none", "l2sp")}
    older = dataclasses.replace(study, spec=study.spec.model_copy(update={"space": then}))
    with store:
        before = run(store, older, 4, seed=1)
        after = run(store, study, 12, seed=2)
        assert {params["anchor"] for params in [*before, *after]} == {"none", "l2sp"}
        answer = fixed_draft(Strategy(tune_mode="full", anchor="l2sp"), Space.from_settings(whole), "by hand")
        assert Trials(store).create(study, answer, "w") is not None


def test_whole_numbers_are_drawn_on_their_scale(tmp_path: Path, task: LoadedTask) -> None:
    """Evenly, nine of ten widths of adapters lay above 10 of 4 to 64."""
    adapted: dict[str, Any] = {"tune_mode": "adapter", "adapter_width": "search", "learning_rate": "search"}
    store, study = open_study(tmp_path, task, adapted, sampler="random")
    with store:
        widths = [params["adapter_width"] for params in run(store, study, 60, seed=0)]
    assert min(widths) >= 4
    assert max(widths) <= 64
    assert 10 <= sorted(widths)[30] <= 24  # the middle of the scale is 16


def test_a_study_that_drew_whole_numbers_evenly_goes_on_so(tmp_path: Path, task: LoadedTask) -> None:
    adapted: dict[str, Any] = {"tune_mode": "adapter", "adapter_width": "search", "learning_rate": "search"}
    store, study = open_study(tmp_path, task, adapted, startup_trials=3)
    evenly = IntDistribution(4, 64)
    with store:
        trials, space = Trials(store), Space.from_settings(adapted)
        first = fixed_draft(Strategy(tune_mode="adapter"), space, "")
        begun = dataclasses.replace(first, distributions={**first.distributions, "adapter_width": evenly})
        assert trials.create(study, begun, "w") is not None
        run(store, study, 6, seed=1)
        answer = fixed_draft(Strategy(tune_mode="adapter", adapter_width=5), space, "by hand")
        assert Trials(store).create(study, answer, "w") is not None
        seen = SamplerHistory(store, study).trials()
        assert len(seen) == 8
        assert {trial.distributions["adapter_width"] for trial in seen} == {evenly}


def dump(path: Path) -> str:
    import sqlite3

    with sqlite3.connect(path) as connection:
        text = "\n".join(connection.iterdump())
    connection.close()
    return hashlib.sha256(text.encode()).hexdigest()


def test_drawing_writes_nothing(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, startup_trials=2)
    with store:
        run(store, study, 4, seed=0)
        before = dump(tmp_path / "study.db")
        for seed in range(3):
            draw(
                SamplerHistory(store, study),
                make_sampler(study.spec.search, seed),
                Space.from_settings(study.spec.space),
            )
        assert dump(tmp_path / "study.db") == before


def test_the_view_shows_one_trial_a_strategy_and_changes_none(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task)
    with store:
        trials, space = Trials(store), Space.from_settings(study.spec.space)
        draft = fixed_draft(space.default(), space, "default")
        first = trials.create(study, draft, "w")
        assert first is not None
        assert trials.fail(first, StopReason(kind=StopKind.CRASHED), retry=True) == 1
        other = trials.create(study, draft, "w")
        assert other is not None
        history = SamplerHistory(store, study)
        sampler = make_sampler(study.spec.search, 0)
        seen, blank = history.draft(sampler)
        assert [(t.number, t.state.name) for t in seen.trials] == [(0, "WAITING"), (2, "RUNNING")]
        assert blank.number == 3
        child = seen.trials[0]._trial_id
        assert child != first.trial_id
        with pytest.raises(TrialLostError):
            history.should_prune(make_pruner(study.spec.search), first.trial_id)
        assert trials.fail(other, StopReason(kind=StopKind.CRASHED), retry=True) == 3
        assert [(t.number, t.state.name) for t in history.trials()] == [(0, "WAITING"), (2, "WAITING")]
        history = seen._storage
        distribution = draft.distributions["learning_rate"]
        for change in (
            lambda: history.create_new_trial(study.study_id),
            lambda: history.create_new_study([StudyDirection.MAXIMIZE]),
            lambda: history.delete_study(study.study_id),
            lambda: history.set_study_user_attr(study.study_id, "a", 1),
            lambda: history.set_study_system_attr(study.study_id, "a", 1),
            lambda: history.set_trial_param(child, "learning_rate", 0.1, distribution),
            lambda: history.set_trial_state_values(child, optuna.trial.TrialState.COMPLETE, [1.0]),
            lambda: history.set_trial_intermediate_value(child, 1, 0.5),
            lambda: history.set_trial_user_attr(child, "a", 1),
        ):
            with pytest.raises(NotImplementedError, match="only reads"):
                change()


@pytest.mark.parametrize("name", PRUNERS)
def test_pruners_stop_the_worst_and_never_the_best(tmp_path: Path, task: LoadedTask, name: str) -> None:
    store, study = open_study(tmp_path, task, pruner=name, max_epochs=9, min_epochs=1)
    with store:
        trials, space, history = (
            Trials(store),
            Space.from_settings(study.spec.space),
            SamplerHistory(store, study),
        )
        pruner = make_pruner(study.spec.search)
        draft = fixed_draft(space.default(), space, "")
        pruned: dict[float, bool] = {}
        # The best comes first, then ever worse ones.
        for score in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
            claim = trials.create(study, draft, "w")
            assert claim is not None
            pruned[score] = False
            for number in range(1, 10):
                trials.record_epoch(claim, epoch(number, score), score)
                if history.should_prune(pruner, claim.trial_id):
                    pruned[score] = True
                    break
            state = TrialState.PRUNED if pruned[score] else TrialState.COMPLETE
            trials.finish(claim, state, score, DONE)
        assert not pruned[0.9]
        stops = name not in ("none", "promote")
        assert pruned[0.1] == stops or name == "hyperband"
        assert any(pruned.values()) == stops


class SoonerTwin(Trials):
    """Before a worker begins what it drew, another one of the same seed begins what it drew itself."""

    twin: Beginning | None = None
    begun = 0

    def create(self, *arguments: Any, **options: Any) -> Claim | None:
        if (twin := self.twin) is not None:
            self.twin = None  # it begins in peace
            self.begun += twin.next("twin", math.inf, late=False) is not None
            self.twin = twin
        return super().create(*arguments, **options)


def beginning(store: Store, study: StudyHandle, trials: Trials) -> Beginning:
    """Of a worker with the seed 0, whose time is not limited."""
    history, search = SamplerHistory(store, study), study.spec.search
    proposals = Proposals(
        history, make_sampler(search, 0), Space.of_study(study.spec), search, cost=pytest.fail, news=list
    )
    return Beginning(trials, study, history, Promotion(store, study), proposals, lambda fits: None)


def test_workers_of_one_seed_part_ways(tmp_path: Path, task: LoadedTask) -> None:
    store, study = open_study(tmp_path, task, trials=100, sampler="random")
    with store:
        trials = SoonerTwin(store)
        later, trials.twin = (beginning(store, study, trials) for _ in range(2))
        claims = [later.next("later", math.inf, late=False) for _ in range(5)]
        assert all(claims)
        assert not later.exhausted
        assert 5 < trials.begun < 5 + 5  # it lost, and went its own way


def test_a_space_that_has_nothing_new_is_exhausted(tmp_path: Path, task: LoadedTask) -> None:
    few = {"transfer_depth": 8, "tune_mode": "head", "learning_rate": 1e-3, "normalise": "search"}
    store, study = open_study(tmp_path, task, few, trials=100, sampler="random")
    with store:
        one, begun = beginning(store, study, Trials(store)), 0
        while one.next("w", math.inf, late=False) is not None:
            begun += 1
        assert one.exhausted
        assert begun == len(DIMENSIONS["normalise"].choices)
