"""Several studies: who wins where, average ranks, and never more than so many datasets can support."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from studies_by_hand import confirm_run, make_study, spec
from trials_by_hand import make_task, trial

from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.task import Task
from automl_transfer.reporting.comparison import (
    average_ranks,
    compare,
    fewest_datasets,
    front,
    headline,
    nemenyi,
    never_ruled_out,
)
from automl_transfer.reporting.effects import effects, outcomes
from automl_transfer.reporting.importance import importance, partial_effects
from automl_transfer.reporting.study_report import StudyReport, make_report

FAMILIES = {
    "closed form": Strategy(tune_mode="closed_form"),
    "head only": Strategy(tune_mode="head"),
    "all trained": Strategy(tune_mode="full"),
}


def study(name: str, **accuracies: float) -> StudyReport:
    records = [
        trial(at, accuracy, strategy=FAMILIES[family.replace("_", " ")])
        for at, (family, accuracy) in enumerate(accuracies.items())
    ]
    return make_report(name, task_of(name), spec(name), records)


def task_of(name: str) -> Task:
    return make_task(name=name, fingerprint=hashlib.sha256(name.encode()).hexdigest())


def test_critical_differences_are_the_published_ones() -> None:
    """Demsar 2006, table 5a: q(.05) for 2 to 5 classifiers, with k (k + 1) / 6N = 1."""
    for families, q in ((2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728)):
        assert nemenyi(families, 1) == pytest.approx(q * (families * (families + 1) / 6) ** 0.5, abs=2e-3)


def test_ties_share_their_ranks() -> None:
    assert average_ranks([[0.9, 0.9, 0.8]]) == [[1.5, 1.5, 3.0]]


def test_three_datasets_support_no_claim_however_clear() -> None:
    found = compare([study(f"d{at}", closed_form=0.99, head_only=0.5, all_trained=0.2) for at in range(3)])
    assert [each.family for each in found.ranked] == ["closed form", "head only", "all trained"]
    assert found.ranked[0].wins == 3
    assert "no family can be shown to be better" in found.claim
    assert "25%" in found.claim
    assert str(fewest_datasets()) in found.claim
    assert headline(found, 3) == "Best on all 3 datasets: a strategy of the family 'closed form'."
    assert never_ruled_out(found).endswith("the family 'closed form'.")
    low, high = found.ranked[0].interval or (0, 0)
    assert (low, high) == (1.0, 3.0)


def test_ten_datasets_support_what_is_clear_and_nothing_else() -> None:
    clear = compare([study(f"d{at}", closed_form=0.99, head_only=0.5, all_trained=0.4) for at in range(10)])
    assert "closed form ranks better than all trained" in clear.claim
    close = [(0.9, 0.91, 0.92), (0.92, 0.9, 0.91), (0.91, 0.92, 0.9)]
    mixed = compare(
        [study(f"d{at}", closed_form=a, head_only=b, all_trained=c) for at, (a, b, c) in enumerate(close * 3)]
    )
    assert "No family's average rank differs" in mixed.claim


def test_confirmed_scores_are_not_compared_with_those_of_the_images_that_chose() -> None:
    """Confirmed ones are lower, and the best family is the one that is confirmed."""
    rng = np.random.default_rng(0)
    reports = []
    for at in range(8):
        penalties = (0.01, 0.1, 1.0)
        best = [Strategy(tune_mode="closed_form", ridge_lambda=each).canonical() for each in penalties]
        records = [trial(number, 0.955, strategy=each) for number, each in enumerate(best)]
        records.append(trial(3, 0.95, strategy=FAMILIES["head only"]))
        runs = [
            confirm_run(root, run, rng.permutation(200) < 187, pool=800)
            for root in range(3)
            for run in range(4)
        ]
        name = f"d{at}"
        reports.append(make_report(name, task_of(name), spec(name), records, runs=runs))
    found = compare(reports)
    assert headline(found, 8) == "Best on all 8 datasets: a strategy of the family 'closed form'."
    assert "Over 8 datasets, closed form ranks better than head only" in found.claim
    assert [(each.family, each.wins) for each in found.ranked] == [("closed form", 8), ("head only", 0)]
    rows = reports[0].ranking.rows
    kept = front(rows, lambda row: 1.0 + (row.confirmation is None))
    assert [row.root_trial for row in kept] == [rows[0].root_trial]


def test_several_studies_of_one_dataset_are_one_dataset() -> None:
    once = [study("one", closed_form=0.99, head_only=0.5, all_trained=0.4) for _ in range(8)]
    found = compare(once)
    assert headline(found, 8) == "Best in all 8 studies of 1 dataset: a strategy of the family 'closed form'."
    assert "With 1 dataset no family can be shown to be better" in found.claim
    assert (found.ranked[0].wins, found.ranked[0].interval, len(found.ranked[0].ranks)) == (1, None, 8)
    two = compare([*once, study("two", closed_form=0.4, head_only=0.5, all_trained=0.6)])
    assert {each.mean for each in two.ranked} == {2.0}


def test_what_was_never_compared_is_not_said_to_be_apart() -> None:
    records = [trial(0, 0.9, strategy=FAMILIES["head only"]), trial(1, 0.8, strategy=FAMILIES["closed form"])]
    tasks = [task_of(name).model_copy(update={"metric": "balanced_accuracy"}) for name in ("one", "two")]
    reports = [make_report(task.name, task, spec(task.name), records) for task in tasks]
    assert never_ruled_out(compare(reports)) == ""


def test_winners_that_differ_are_named_and_not_overclaimed() -> None:
    found = compare(
        [study("one", closed_form=0.99, head_only=0.98), study("two", closed_form=0.98, head_only=0.99)]
    )
    assert headline(found, 2) == "Best on 2 datasets: 'closed form' on one; 'head only' on two."
    assert "'closed form' or 'head only'" in never_ruled_out(found)


def test_studies_without_a_ranking_are_left_out() -> None:
    empty = make_report("empty", make_task(), spec(), [])
    assert headline(compare([empty, empty]), 2) == "None of the 2 studies has a ranking to compare yet."
    found = compare([empty, study("one", closed_form=0.9)])
    assert found.names == ("one",)
    assert "Only one has a ranking" in headline(found, 2)


def test_a_strategy_that_several_studies_ranked_is_followed() -> None:
    found = compare([study("one", closed_form=0.9, head_only=0.8), study("two", head_only=0.9)])
    assert [dict(places) for _, places in found.shared] == [{0: 2, 1: 1}]


def test_what_mattered_is_found_again() -> None:
    """The studies by hand are made by transfer depth and learning rate, and by nothing else."""
    report = make_study(400, extras=False)
    assert set(list(importance(report))[:2]) == {"transfer_depth", "learning_rate"}
    assert sum(importance(report).values()) == pytest.approx(1.0)
    shown = {effect.name: effect for effect in partial_effects(report)}
    depth, rate = shown["transfer_depth"], shown["learning_rate"]
    assert depth.scores[-1] - depth.scores[0] > 0.03
    best = rate.values[max(range(len(rate.scores)), key=rate.scores.__getitem__)]
    assert 1e-4 < best < 1e-3
    by = {(e.choice, e.level): e for e in effects(report)}
    assert by["transfer depth", "none"].interval[1] < 0 < by["transfer depth", "all"].interval[0]
    low, high = by["rest initialised", "he_normal"].interval
    assert low < 0 < high


def test_scores_are_compared_at_an_epoch_that_most_trials_reached() -> None:
    found = outcomes(make_study(200, extras=False))
    assert found.epoch == 1
    assert len(found.trials) == 199  # the solved one has no epoch 1
    for curves in ([1, 3, 3, 3, 3], [1, 1, *[3] * 8]):
        records = [trial(at, *[0.5] * depth) for at, depth in enumerate(curves)]
        assert outcomes(make_report("s", make_task(), spec(), records)).epoch == 3
