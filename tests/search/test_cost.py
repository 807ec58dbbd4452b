"""What strategies are expected to take, and the draws that are chosen by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import RandomSampler
from search_helpers import DONE, digits, epoch, open_study

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.records import TrialOutcome, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.beginning import Beginning
from automl_transfer.search.choosing import Choice
from automl_transfer.search.cost import Cost
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.promoting import Promotion
from automl_transfer.search.proposals import Proposals
from automl_transfer.space.space import Space
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.spent import SpentNews
from automl_transfer.store.trials import Trials
from automl_transfer.training.cache_plan import multiply_adds_by_group

WHOLE = Strategy(tune_mode="full", learning_rate=1e-3, batch=32)
LARGE = WHOLE.model_copy(update={"resolution_scale": 2.0})
SIZES = (1e6, 2e6, 4e6, 8e6)


def changed(**values: Any) -> Strategy:
    return Strategy.of({**WHOLE.model_dump(), **values})


def cost() -> Cost:
    return Cost(1000, 200, Horizon(9), lambda source: SIZES, 1e9)


def test_without_trials_seconds_are_multiply_adds_over_a_rate() -> None:
    found = cost()
    assert found.seconds(WHOLE) == pytest.approx((9 * 1000 * 3 + 9 * 200) * 8e6 / 1e9)
    assert found.seconds(LARGE) == pytest.approx(4 * found.seconds(WHOLE))
    half = changed(tune_mode="suffix", freeze_depth=4)  # two groups of four are passed once
    assert found.seconds(half) == pytest.approx((1200 * 2e6 + (9 * 1000 * 3 + 9 * 200) * 6e6) / 1e9)
    assert found.seconds(changed(tune_mode="suffix", freeze_depth=4, crop=0.5)) > found.seconds(half)
    assert found.seconds(changed(truncation=4)) == pytest.approx(found.seconds(WHOLE) / 4)
    assert found.seconds(Strategy(tune_mode="closed_form")) == pytest.approx(1200 * 8e6 / 1e9)
    found.at_pace(WHOLE.source, 8e-3)  # 8e6 multiply-adds in 8 ms
    assert found.seconds(WHOLE) == pytest.approx(cost().seconds(WHOLE))


def test_one_trial_moves_the_level_and_several_tell_what_is_special() -> None:
    found = cost()
    found.learn(0, WHOLE, 5 * cost().seconds(WHOLE))
    assert found.seconds(WHOLE) == pytest.approx(5 * cost().seconds(WHOLE), rel=0.1)
    assert found.seconds(LARGE) == pytest.approx(4 * found.seconds(WHOLE), rel=0.1)
    for trial in range(1, 9):  # large images are no dearer on this machine: small ones leave it idle
        one = (LARGE, WHOLE)[trial % 2].model_copy(update={"learning_rate": 1e-3 / trial})
        found.learn(trial, one, 5 * cost().seconds(WHOLE))
    assert found.seconds(LARGE) / found.seconds(WHOLE) < 1.6
    found.learn(8, LARGE, 50 * cost().seconds(LARGE))
    found.learn(8, LARGE, 5 * cost().seconds(WHOLE))  # later news of a trial replace what was known
    assert found.seconds(LARGE) / found.seconds(WHOLE) < 1.6


def test_a_slow_draw_is_passed_over_for_an_equal_cheap_one() -> None:
    both = [LARGE, WHOLE.model_copy(update={"learning_rate": 2e-3})]
    for found, chosen in ((cost(), 1), (None, 0)):
        choice = Choice(found)
        assert choice.best(both) == 0  # nothing was tried: as it was drawn
        for trial, scale in enumerate((1.0, 2.0, 1.0, 2.0)):
            tried = WHOLE.model_copy(update={"resolution_scale": scale, "learning_rate": 1e-3 * (1 + trial)})
            # The larger images are a little better, but take four times as long.
            choice.learn(trial, tried, 0.9 + 0.004 * (scale == 2.0) + 0.001 * trial)
        assert choice.best(both) == chosen


def test_multiply_adds_grow_with_the_groups_and_the_area(tiny_network: Callable[[], Any]) -> None:
    network = tiny_network()
    small, large = (multiply_adds_by_group(network, side) for side in (32, 64))
    assert list(small) == sorted(small)
    assert len(small) == len(network.groups)
    assert large[-1] == pytest.approx(4 * small[-1], rel=0.05)


@pytest.fixture(scope="module")
def tiny_network() -> Callable[[], Any]:
    from automl_transfer.models.registry import get_source

    return lambda: get_source("efficientnet-lite0").load(3)


@pytest.fixture(scope="module")
def task() -> LoadedTask:
    return digits()


SPACE = {"tune_mode": "full", "learning_rate": "search", "resolution_scale": (1.0, 2.0), "batch": 32}


def larges(folder: Path, task: LoadedTask, left: float, seconds: float, **search: Any) -> float:
    """Share of draws on larger images, where some were tried that all had the same."""
    store, study = open_study(folder, task, SPACE, max_epochs=9, **search)
    with store:
        trials, space = Trials(store), Space.of_study(study.spec)
        for rate in (1e-4, 1e-3, 1e-2):
            for one in (WHOLE, LARGE):
                draft = fixed_draft(one.model_copy(update={"learning_rate": rate}), space, "")
                claim = trials.create(study, draft, "w")
                assert claim is not None
                took = seconds * one.resolution_scale**2
                for number in range(1, 4):  # as if it had paused at the rung
                    each = epoch(number, 0.9).model_copy(update={"seconds": took / 9})
                    trials.record_epoch(claim, each, 0.9)
                outcome = TrialOutcome(train_seconds=took / 3)
                trials.finish(claim, TrialState.PRUNED, 0.9, DONE, outcome)
        history = SamplerHistory(store, study)
        made = Proposals(
            history, RandomSampler(seed=0), space, study.spec.search, cost, SpentNews(history)
        )  # fmt: skip
        found = [made.next(left) for _ in range(30)]
        assert any(each.fits for each in found) == (left > seconds)
        return sum(each.draft.strategy.resolution_scale == 2.0 for each in found) / len(found)


@pytest.mark.parametrize("answered", [True, False])
def test_nothing_begins_whose_training_cannot_end_in_time_once_there_is_an_answer(
    tmp_path: Path, task: LoadedTask, answered: bool
) -> None:
    store, study = open_study(tmp_path, task, SPACE, max_epochs=9)
    with store:
        trials, space = Trials(store), Space.of_study(study.spec)
        claim = trials.create(study, fixed_draft(WHOLE, space, ""), "w")
        assert claim is not None
        for number in range(1, 10):
            trials.record_epoch(claim, epoch(number, 0.9).model_copy(update={"seconds": 30 / 9}), 0.9)
        state = TrialState.COMPLETE if answered else TrialState.PRUNED
        trials.finish(claim, state, 0.9, DONE, TrialOutcome(train_seconds=30.0))
        history = SamplerHistory(store, study)
        proposals = Proposals(
            history, RandomSampler(seed=0), space, study.spec.search, cost, SpentNews(history)
        )
        begins = Beginning(trials, study, history, Promotion(store, study), proposals, lambda fits: None)
        assert begins.next("w", 300.0, late=False) is not None
        assert not begins.too_late
        assert (begins.next("w", 3.0, late=False) is None) == begins.too_late == answered


def test_a_study_that_asks_for_it_draws_by_what_trials_took(tmp_path: Path, task: LoadedTask) -> None:
    for name in "abcd":
        (tmp_path / name).mkdir()
    assert larges(tmp_path / "a", task, math.inf, 30.0) > 0.3
    assert larges(tmp_path / "b", task, math.inf, 30.0, cost=True) < 0.2  # all of four draws are large
    # With 45 seconds left, only what comes to its end in 30 is begun ...
    assert larges(tmp_path / "c", task, 45.0, 30.0) < 0.2
    # ... and where nothing does, the cheapest is proposed, if there is no answer yet.
    assert larges(tmp_path / "d", task, 15.0, 30.0) < 0.2
