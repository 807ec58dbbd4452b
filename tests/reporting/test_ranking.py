import json
from datetime import timedelta

import numpy as np
import pytest
from studies_by_hand import confirm_run
from trials_by_hand import BEGIN, CRASH, epoch, make_task, trial

from automl_transfer.domain.records import TrialOutcome, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.reporting.ranking import Ranking, rank
from automl_transfer.reporting.statistics import clopper_pearson

TASK = make_task()


def roots(ranking: Ranking) -> list[int]:
    return [row.root_trial for row in ranking.rows]


def test_orders_by_score_then_loss_then_cost() -> None:
    records = [
        trial(0, 0.90),
        trial(1, 0.95, loss=0.3, ms=2.0),
        trial(2, 0.95, loss=0.2),
        trial(3, 0.95, loss=0.3, ms=1.0, seconds=9.0),
        trial(4, 0.95, loss=0.3, ms=1.0, seconds=5.0),
    ]
    ranking = rank(reversed(records), TASK, "s")
    assert roots(ranking) == [2, 4, 3, 1, 0]
    assert [row.rank for row in ranking.rows] == [1, 2, 3, 4, 5]


def test_a_tie_with_a_smoothed_model_is_decided_by_calibrated_losses() -> None:
    """As on the garments: label smoothing made the loss of the better model larger."""
    gentle = trial(0, epochs=(epoch(1, 0.8944, 0.36, calibrated_loss=0.34),))
    whole = trial(1, epochs=(epoch(9, 0.8944, 0.53, calibrated_loss=0.31),))
    ranking = rank([gentle, whole], TASK, "s")
    assert roots(ranking) == [1, 0]
    assert [(row.validation.nll, row.validation.calibrated_nll) for row in ranking.rows] == [
        (0.53, 0.31),
        (0.36, 0.34),
    ]
    assert [point.root_trial for point in ranking.timeline] == [0, 1]
    before = trial(2, 0.8944, loss=0.4)  # of a version that kept no such loss
    assert roots(rank([gentle, whole, before], TASK, "s")) == [0, 2, 1]


def test_only_complete_trials_are_ranked() -> None:
    records = [
        trial(0, 0.6),
        trial(1, 0.99, state=TrialState.PRUNED),
        trial(2, 0.99, state=TrialState.FAIL, stop=CRASH),
        trial(3, 0.99, state=TrialState.RUNNING),
        trial(4, state=TrialState.WAITING),
    ]
    assert roots(rank(records, TASK, "s")) == [0]


def test_one_row_a_strategy_the_first_not_the_luckiest() -> None:
    same = Strategy(learning_rate=0.01)
    without_effect = same.model_copy(update={"perturb": 0.5})  # shrink is 1: perturb does nothing
    records = [trial(1, 0.90, strategy=same), trial(0, 0.80), trial(2, 0.97, strategy=without_effect)]
    ranking = rank(records, TASK, "s")
    assert roots(ranking) == [1, 0]
    assert ranking.rows[0].validation.accuracy == 0.90


def test_a_continued_trial_is_ranked_under_its_root() -> None:
    strategy = Strategy(batch=32)
    records = [
        trial(5, 0.7, strategy=strategy, state=TrialState.FAIL, stop=CRASH),
        trial(9, 0.7, 0.8, strategy=strategy, root=5, attempt=1),
    ]
    (row,) = rank(records, TASK, "s").rows
    assert (row.root_trial, row.validation.accuracy, row.epochs) == (5, 0.8, 2)


def test_the_latest_continuation_of_a_root_counts() -> None:
    strategy = Strategy(batch=32)
    records = [
        trial(7, 0.8, 0.85, strategy=strategy, root=2, attempt=1),
        trial(2, 0.9, strategy=strategy),
    ]
    (row,) = rank(records, TASK, "s").rows
    assert (row.root_trial, row.validation.accuracy) == (2, 0.85)


def test_the_epoch_whose_weights_were_kept_is_shown() -> None:
    best = trial(0, 0.7, 0.9, 0.8)
    told = trial(1, 0.7, 0.95, 0.8, outcome=TrialOutcome(best_epoch=3))
    rows = {row.root_trial: row for row in rank([best, told], TASK, "s").rows}
    assert (rows[0].epochs, rows[0].validation.accuracy) == (2, 0.9)
    assert (rows[1].epochs, rows[1].validation.accuracy) == (3, 0.8)


def test_a_trial_without_outcome_is_ranked_with_what_is_known() -> None:
    (row,) = rank([trial(0, 0.7, 0.9, outcome=None)], TASK, "s").rows
    assert (row.train_seconds, row.predict_ms_per_image, row.parameters) == (4.0, None, None)


def test_trials_of_other_tools_are_left_out() -> None:
    foreign = trial(0, 0.9).model_copy(update={"strategy": None})
    without_curve = trial(1).model_copy(update={"value": 0.9})
    assert rank([foreign, without_curve], TASK, "s").rows == ()


def test_the_set_of_the_best() -> None:
    ranking = rank([trial(0, 0.98), trial(1, 0.975), trial(2, 0.6)], TASK, "s")
    assert [row.set for row in ranking.rows] == ["a", "a", None]
    assert ranking.rows[0].validation.interval == clopper_pearson(196, 200)


def test_other_metrics_order_the_rows_and_claim_no_set() -> None:
    task = make_task(metric="macro_f1")
    records = [
        trial(0, epochs=(epoch(1, 0.9, macro_f1=0.5),)),
        trial(1, epochs=(epoch(1, 0.8, macro_f1=0.7),)),
    ]
    ranking = rank(records, task, "s")
    assert roots(ranking) == [1, 0]
    assert [row.validation.score for row in ranking.rows] == [0.7, 0.5]
    assert [row.set for row in ranking.rows] == [None, None]


def test_timeline_of_the_incumbent() -> None:
    records = [
        trial(0, state=TrialState.FAIL, minutes=0),  # the clock starts with it
        trial(1, 0.8, minutes=1),
        trial(2, 0.7, minutes=2),
        trial(3, 0.99, state=TrialState.PRUNED, minutes=3),
        trial(4, 0.9, minutes=5),
    ]
    points = rank(records, TASK, "s").timeline
    assert [(p.seconds, p.root_trial, p.validation_accuracy) for p in points] == [(90, 1, 0.8), (330, 4, 0.9)]


def test_timeline_bears_missing_times_and_slow_clocks() -> None:
    assert rank([trial(0, 0.8, started=None, finished=None)], TASK, "s").timeline == ()
    early = trial(1, 0.9, finished=BEGIN - timedelta(hours=1))
    assert [p.seconds for p in rank([early], TASK, "s").timeline] == [0.0]


def test_nothing_to_rank() -> None:
    ranking = rank([], TASK, "s")
    assert (ranking.rows, ranking.timeline, ranking.best) == ((), (), None)


def test_json_as_published() -> None:
    ranking = rank([trial(0, 0.8), trial(1, 0.9)], TASK, "s")
    text = ranking.to_json()
    data = json.loads(text)
    keys = ["schema", "task", "study", "identity", "rows", "timeline", "confirmation", "ended", "test_looks"]
    assert list(data) == keys
    assert data["schema"] == "automl-transfer/ranking/1"
    assert data["task"] == {"name": "digits", "fingerprint": "0" * 64, "metric": "accuracy", "account": None}
    row = data["rows"][0]
    assert list(row) == [
        "rank",
        "set",
        "root_trial",
        "strategy",
        "description",
        "validation",
        "confirmation",
        "epochs",
        "train_seconds",
        "predict_ms_per_image",
        "parameters",
    ]
    names = {"score", "accuracy", "interval", "nll", "calibrated_nll", "n", "seeds"}
    assert set(row["validation"]) == names
    assert Strategy.model_validate(row["strategy"]).key() == Strategy(learning_rate=2e-3).key()
    assert Ranking.model_validate_json(text) == ranking
    assert rank([trial(1, 0.9), trial(0, 0.8)], TASK, "s").to_json() == text


def test_a_ranking_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        rank([], TASK, "s").study = "other"


def test_a_strategy_whose_second_run_failed_is_not_confirmed_beside_others_that_are() -> None:
    right = np.arange(200) < 190
    records = [trial(0, 0.96), trial(1, 0.95)]
    runs = [confirm_run(0, 0, np.ones(200, bool), pool=800)]
    runs += [confirm_run(1, run, right, pool=800) for run in range(4)]
    found = rank(records, make_task(), "s", runs, failed={0})
    assert [(row.root_trial, row.confirmation is not None) for row in found.rows] == [(1, True), (0, False)]
    early = rank(records, make_task(), "s", [runs[0], runs[1]])  # while the first runs are being made
    assert all(row.confirmation for row in early.rows)


def test_a_better_strategy_that_came_after_the_confirmation_is_ahead_of_the_confirmed_ones() -> None:
    n = 200
    records = [trial(0, 0.85), trial(1, 0.84), trial(2, 0.95), trial(3, 0.80)]
    right = {0: 168, 1: 160}
    runs = [
        confirm_run(root, run, np.arange(n) < right[root], pool=4 * n) for root in right for run in range(4)
    ]
    found = rank(records, make_task(), "s", runs)
    assert [(row.root_trial, row.confirmation is not None, row.set) for row in found.rows] == [
        (2, False, "a"),
        (0, True, None),  # ten points behind on the same validation images
        (1, True, None),
        (3, False, None),
    ]
    told = [row.confirmation.behind for row in found.rows if row.confirmation]
    assert told[0] is None  # confirmed ones are compared with the best of them
    assert told[1] == pytest.approx(0.04)


@pytest.mark.parametrize(("score", "leads"), [(0.855, False), (0.86, False), (0.95, True)])
def test_the_luck_of_an_image_or_two_puts_nothing_ahead_of_the_confirmed_ones(
    score: float, leads: bool
) -> None:
    n = 200
    records = [trial(0, 0.85), trial(1, score)]
    runs = [confirm_run(0, run, np.arange(n) < 168, pool=4 * n) for run in range(4)]
    found = rank(records, make_task(), "s", runs)
    order = [(1, "a"), (0, None)] if leads else [(0, "a"), (1, "a")]
    assert [(row.root_trial, row.set) for row in found.rows] == order
    failed = rank(records, make_task(), "s", runs, failed={1})
    assert [row.root_trial for row in failed.rows] == [0, 1]
    balanced = rank(
        records, make_task(metric="balanced_accuracy"), "s", runs
    )  # no errors of images are known
    assert [(row.root_trial, row.set) for row in balanced.rows] == [(1, "a"), (0, "a")]
