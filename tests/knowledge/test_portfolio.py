"""A portfolio takes what covers earlier tasks, lays it onto the new one, and knows what is tried anyhow."""

from __future__ import annotations

from typing import Any

import pytest
from known_by_hand import FASTER, SCRATCH, SOLVED, TUNED, WHOLE, earlier, signature, task

from automl_transfer.domain.stored_strategy import read_strategy
from automl_transfer.domain.strategy import Strategy
from automl_transfer.domain.warm import WarmStart
from automl_transfer.knowledge.portfolio import MOST, OF_PROFILE, Changes, Earlier, choose
from automl_transfer.knowledge.similarity import distance, weights_of
from automl_transfer.search.earlier import propose
from automl_transfer.space.space import Space

SPACE = Space.from_settings({
    "truncation": (1, 8), "pool": (1, 2, 4), "taps": (1, 6), "tune_mode": ("suffix", "full"),
    "head_init": ("ridge", "he"), "learning_rate": (1e-5, 1e-2), "head_lr_mult": (0.01, 10.0),
    "norm_policy": ("frozen", "train"), "batch": (32, 64), "mirror": "search",
})  # fmt: skip
HERE = Strategy(tune_mode="closed_form", truncation=3, pool=4, taps=1, ridge_lambda=5.0)
"""What the profile of the new task chose."""


def proposed(known: list[Earlier], space: Space = SPACE, **said: Any) -> WarmStart:
    given = {"solved": HERE.model_dump(include=set(OF_PROFILE)), "first": [HERE], "mirrors": False}
    return propose(known, space, **{**given, "balanced": False, **said})


def strategies(begun: WarmStart) -> list[Strategy]:
    return [read_strategy(each.strategy) for each in begun.proposals]


def test_what_won_is_laid_onto_what_the_profile_chose_here() -> None:
    begun = proposed(earlier(task({FASTER: 1.0, TUNED: 0.5, SOLVED: 0.0})))
    (found,) = strategies(begun)
    assert (found.truncation, found.pool, found.taps, found.ridge_lambda) == (3, 4, 1, 5.0)
    assert (found.learning_rate, found.head_lr_mult) == (3e-4, 0.03)
    assert begun.tasks == {"shipped": 1}
    assert begun.proposals[0].best_on == "task 1"


def test_what_a_strategy_has_apart_from_its_profile_carries_over() -> None:
    (found,) = strategies(proposed(earlier(task({WHOLE: 1.0, TUNED: 0.5}))))
    assert (found.truncation, found.pool, found.taps) == (8, 1, 1)
    assert found.tune_mode == "full"


def test_greedily_what_adds_most_comes_first_and_the_first_answers_count_from_the_start() -> None:
    slow = TUNED.model_copy(update={"learning_rate": 3e-5})
    known = earlier(
        task({FASTER: 1.0, slow: 0.9, TUNED: 0.2, SOLVED: 0.0}),
        task({FASTER: 0.9, slow: 1.0, TUNED: 0.2, SOLVED: 0.0}),
        task({WHOLE: 1.0, FASTER: 0.1, slow: 0.0, TUNED: 0.8}),
    )
    rates = [each.learning_rate for each in strategies(proposed(known))]
    assert rates == [3e-4, 1e-3, 3e-5]  # the second covers the third task, and only then comes what is alike
    assert strategies(proposed(earlier(task({TUNED: 1.0, FASTER: 0.5})))) == []  # tried anyhow, and best


def test_a_strategy_is_known_on_another_task_whatever_the_profile_chose_there() -> None:
    other = Strategy(tune_mode="closed_form", truncation=4, pool=1)
    there = other.model_copy(update={"tune_mode": "suffix", "learning_rate": 3e-4, "head_lr_mult": 0.03})
    known = earlier(task({FASTER: 1.0, TUNED: 0.0}), task({there: 0.7}, {}, solved=None))
    changes = Changes.of(FASTER, SOLVED)
    assert known[0].rank_of(changes) == 1.0
    assert known[1].rank_of(changes) == 0.7
    assert known[1].rank_of(Changes.of(WHOLE, SOLVED)) is None


def test_only_what_the_space_admits_is_proposed_and_the_rest_is_counted() -> None:
    narrow = Space.from_settings({"learning_rate": (1e-5, 2e-4), "head_lr_mult": (0.01, 10.0)})
    begun = proposed(earlier(task({FASTER: 1.0, WHOLE: 0.9, TUNED: 0.0})), narrow)
    assert begun.proposals == ()
    assert begun.left_out >= 1
    poisoned = FASTER.model_copy(update={"prepare": "denoise", "prepare_steps": 100_000, "batch": 65_536})
    assert proposed(earlier(task({poisoned: 1.0, TUNED: 0.0}))).proposals == ()


def test_scratch_is_among_them_where_the_space_has_it() -> None:
    known = earlier(task({FASTER: 1.0, TUNED: 0.5, SCRATCH: 0.0}))
    assert [s.source for s in strategies(proposed(known))] == ["efficientnet-lite0"]
    settings = {
        name: each.choices or (each.low, each.high) for each in SPACE.searched for name in (each.name,)
    }
    both = Space.from_settings({**settings, "source": ("efficientnet-lite0", "scratch")})  # type: ignore[arg-type]
    assert [s.source for s in strategies(proposed(known, both))] == ["efficientnet-lite0", "scratch"]


def test_a_single_earlier_task_and_none_at_all_are_enough() -> None:
    assert len(proposed(earlier(task({FASTER: 1.0, TUNED: 0.0}))).proposals) == 1
    assert len(proposed(earlier(task({FASTER: 1.0}, {}))).proposals) == 1
    assert proposed([]) == WarmStart()


def test_images_are_mirrored_and_classes_weighted_as_the_new_task_wants_it() -> None:
    mirrored = FASTER.model_copy(update={"mirror": True})
    known = earlier(task({mirrored: 1.0, TUNED: 0.0}, mirrors=True))
    (plain,), (photograph,) = (strategies(proposed(known, mirrors=may)) for may in (False, True))
    assert (plain.mirror, photograph.mirror) == (False, True)
    weighted = Space.from_settings({
        "class_weights": "search", "learning_rate": "search", "head_lr_mult": "search",
    })  # fmt: skip
    (found,) = strategies(proposed(earlier(task({FASTER: 1.0, TUNED: 0.0})), weighted, balanced=True))
    assert found.class_weights


def test_weights_say_which_task_counts() -> None:
    slow = TUNED.model_copy(update={"learning_rate": 3e-5})
    known = earlier(task({FASTER: 1.0, slow: 0.0, TUNED: 0.5}), task({slow: 1.0, FASTER: 0.0, TUNED: 0.5}))

    def lay(changes: Changes) -> Strategy | None:
        return changes.onto(HERE.model_dump(include=set(OF_PROFILE)), mirrors=False, balanced=False)

    for weights, rate in (([1.0, 0.1], 3e-4), ([0.1, 1.0], 3e-5)):
        assert choose(known, weights, lay, frozenset()).chosen[0].strategy.learning_rate == rate


def test_alike_tasks_are_near() -> None:
    mine = signature(profile={"efficientnet-lite0": {4: 0.9, 8: 0.7}})
    near = signature(images=500, profile={"efficientnet-lite0": {4: 0.88, 8: 0.72}})
    far = signature(
        images=60_000, classes=100, resolution=224, profile={"efficientnet-lite0": {4: 0.3, 8: 0.9}}
    )
    assert distance(mine, mine) == 0.0
    assert distance(mine, near) == distance(near, mine)
    weights = weights_of(mine, [near, far, None])
    assert weights[0] > weights[2] > weights[1]
    assert weights_of(None, [near, far]) == [1.0, 1.0]


def test_a_strategy_is_looked_for_only_among_those_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file must not hold a search up: each of many tasks was compared with all strategies of all."""
    known = earlier(*(
        task({TUNED.model_copy(update={"learning_rate": 1e-4 + 1e-7 * (20 * at + each)}): each / 20 for each in range(20)})
        for at in range(50)
    ))  # fmt: skip
    compared = []
    whole = Changes.is_that_of

    def counted(self: Changes, tried: Any) -> bool:
        compared.append(tried)
        return whole(self, tried)

    monkeypatch.setattr(Changes, "is_that_of", counted)
    begun = proposed(known)
    assert len(begun.proposals) == MOST
    assert len(compared) <= 2 * 50 * 20
