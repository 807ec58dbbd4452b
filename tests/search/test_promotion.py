"""Who goes on from a rung, whatever the order in which trials come there."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_transfer.domain.horizon import rungs_of
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.promotion import FRESH_HEAD, SOLVED_HEAD, Ladder, bracket_of
from automl_transfer.store.values import Mark


def mark(root: int, value: float, rung: int = 1, bracket: str = FRESH_HEAD, **more: float) -> Mark:
    return Mark(root, rung, bracket, value, more.get("loss", 1.0), more.get("seconds", 10.0))


def ladder(*marks: Mark, factor: int = 3) -> Ladder:
    found = Ladder(factor)
    for each in marks:
        found.put(each)
    return found


def went_on(from_: Ladder, at: Mark) -> None:
    from_.put(dataclasses.replace(at, paused=False))


@pytest.mark.parametrize(
    ("first", "factor", "epochs", "rungs"),
    [(3, 3, 9, (3,)), (1, 3, 27, (1, 3, 9)), (1, 2, 5, (1, 2, 4)), (9, 3, 9, ()), (2, 3, 3, (2,))],
)
def test_rungs_lie_a_factor_apart_and_end_before_the_horizon(
    first: int, factor: int, epochs: int, rungs: tuple[int, ...]
) -> None:
    assert rungs_of(first, factor, epochs) == rungs


def test_nothing_goes_on_before_there_is_anything_to_compare_it_with() -> None:
    assert ladder(mark(0, 0.9), mark(1, 0.8)).promising() is None


def test_of_three_the_best_one_goes_on_and_of_six_the_second_best_too() -> None:
    found = ladder(*(mark(root, value) for root, value in enumerate((0.5, 0.9, 0.7))))
    best = found.promising()
    assert best is not None
    assert best.root == 1
    went_on(found, best)
    assert found.promising() is None
    for root, value in ((3, 0.1), (4, 0.8), (5, 0.2)):
        found.put(mark(root, value))
    second = found.promising()
    assert second is not None
    assert second.root == 4


def test_what_was_behind_goes_on_when_others_turn_out_worse() -> None:
    """The difference from a pruner that stops: a pause is no verdict."""
    found = ladder(mark(0, 0.9), mark(1, 0.6), mark(2, 0.5))
    went_on(found, mark(0, 0.9))
    assert found.promising() is None
    for root in (3, 4, 5):
        found.put(mark(root, 0.4))
    best = found.promising()
    assert best is not None
    assert best.root == 1


def test_higher_rungs_come_first_and_equal_values_go_by_loss() -> None:
    low = [mark(root, 0.9) for root in range(3)]
    high = [mark(root, 0.7, rung=3, loss=loss) for root, loss in ((10, 0.5), (11, 0.4), (12, 0.6))]
    best = ladder(*low, *high).promising()
    assert best is not None
    assert (best.rung, best.root) == (3, 11)


def test_a_solved_head_is_not_what_a_fresh_one_is_compared_with() -> None:
    assert bracket_of(Strategy(tune_mode="head", head_init="ridge")) == SOLVED_HEAD
    assert bracket_of(Strategy(tune_mode="head", head_init="he")) == FRESH_HEAD
    solved = [mark(root, 0.9, bracket=SOLVED_HEAD) for root in range(2)]
    fresh = [mark(root, 0.5 + root / 100) for root in range(10, 13)]
    best = ladder(*solved, *fresh).promising()
    assert best is not None
    assert best.root == 12  # 2 solved heads are too few to choose from; of 3 fresh ones the best goes on


def test_what_has_no_time_to_end_is_passed_over() -> None:
    found = ladder(*(mark(root, 0.9 - root / 10, seconds=10 * (6 - root)) for root in range(6)))
    best = found.promising(lambda each: each.seconds <= 50)
    assert best is not None
    assert best.root == 1
    assert found.promising(lambda each: each.seconds <= 10) is None  # the sixth of six is none of the best


def test_at_the_end_the_best_one_of_each_bracket_goes_on_however_few_there_are() -> None:
    found = ladder(mark(0, 0.6), mark(1, 0.7, bracket=SOLVED_HEAD))
    order = []
    while (best := found.last_one()) is not None:
        order.append(best.root)
        went_on(found, best)
    assert order == [1, 0]


def test_where_time_is_the_limit_any_that_may_end_goes_on() -> None:
    found = ladder(mark(0, 0.9, seconds=30), mark(1, 0.8, seconds=5), mark(2, 0.7, seconds=5))
    assert found.last_one() == mark(0, 0.9, seconds=30)
    assert found.last_one(lambda each: each.seconds <= 10, any_=True) == mark(1, 0.8, seconds=5)


def test_a_trial_at_its_rung_knows_whether_it_may_train_on_at_once() -> None:
    found = ladder(mark(0, 0.5), mark(1, 0.6))
    assert found.goes_on(mark(2, 0.9))
    found = ladder(mark(0, 0.5), mark(1, 0.6))
    assert not found.goes_on(mark(2, 0.55))  # another one is more promising


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([1, 3])), max_size=40), st.integers(2, 4))
def test_any_order_of_arrivals_promotes_a_share_of_the_best(
    arrivals: list[tuple[int, int]], factor: int
) -> None:
    found, at = Ladder(factor), dict[int, list[float]]()
    roots = itertools.count()
    promoted: dict[int, int] = {}
    for tenths, rung in arrivals:
        each = mark(next(roots), tenths / 20, rung=rung)
        found.put(each)
        at.setdefault(rung, []).append(each.value)
        while (best := found.promising()) is not None:
            went_on(found, best)
            promoted[best.rung] = promoted.get(best.rung, 0) + 1
            better = sum(value > best.value for value in at[best.rung])
            assert better < len(at[best.rung]) / factor
    for rung, values in at.items():
        # Those that went on early may have been overtaken; never fewer than the share go on.
        assert promoted.get(rung, 0) >= len(values) // factor
