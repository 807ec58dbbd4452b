"""Learning rate factors over a whole horizon."""

from __future__ import annotations

import itertools

import pytest

from automl_transfer.training.schedule import rate_factor

TOTAL = 200


def curve(kind: str, warmup: float = 0.0) -> list[float]:
    return [rate_factor(kind, step, TOTAL, warmup) for step in range(TOTAL)]


@pytest.mark.parametrize("kind", ["cosine", "constant", "step", "one_cycle"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_factors_lie_between_0_and_1_and_reach_1(kind: str, warmup: float) -> None:
    factors = curve(kind, warmup)
    assert all(0.0 < factor <= 1.0 for factor in factors)
    if not (kind == "step" and warmup == 0.5):
        assert max(factors) == pytest.approx(1.0)


def test_warm_up_rises_linearly() -> None:
    factors = curve("constant", 0.1)
    assert factors[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert factors[20:] == [1.0] * 180


def test_cosine_falls_to_nothing_at_the_horizon() -> None:
    factors = curve("cosine")
    assert factors[0] == 1.0
    assert factors[100] == pytest.approx(0.5)
    assert factors[-1] < 1e-3
    assert all(one > two for one, two in itertools.pairwise(factors))


def test_step_falls_to_a_tenth_twice() -> None:
    factors = curve("step")
    assert [factors[0], factors[99], factors[100], factors[150]] == pytest.approx([1.0, 1.0, 0.1, 0.01])


def test_one_cycle_rises_for_three_tenths_then_falls() -> None:
    factors = curve("one_cycle", warmup=0.5)  # its own rise, whatever the warm-up
    assert factors[0] == pytest.approx(0.04)
    assert factors.index(max(factors)) == 60
    assert factors[-1] < 1e-3


def test_one_step_in_all_is_taken_at_a_rate_above_nothing() -> None:
    for kind in ("cosine", "constant", "step", "one_cycle"):
        assert rate_factor(kind, 0, 1, 0.1) > 0.0


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(
        ValueError, match="schedule must be cosine, constant, step or one_cycle, got 'linear'"
    ):
        rate_factor("linear", 0, 10, 0.0)
