"""One budget for all threads that decode (E12)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from automl_transfer.data.memory_budget import DECODING, LEAST, MOST, MemoryBudget


def test_threads_together_stay_within_the_budget() -> None:
    budget, lock, state = MemoryBudget(100), threading.Lock(), {"now": 0, "most": 0}

    def take(needed: int) -> None:
        with budget.holding(needed):
            with lock:
                state["now"] += needed
                state["most"] = max(state["most"], state["now"])
            with lock:
                state["now"] -= needed

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [30, 60, 90, 10, 100] * 40))
    assert state["now"] == 0
    assert 60 < state["most"] <= 100


def test_what_needs_more_than_all_of_it_goes_alone_and_what_fails_gives_back() -> None:
    budget = MemoryBudget(100)
    inside, leave, second = threading.Event(), threading.Event(), threading.Event()

    def large() -> None:
        with budget.holding(1000):
            inside.set()
            leave.wait(30)

    def small() -> None:
        with budget.holding(1):
            second.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(large)
        assert inside.wait(30)
        other = pool.submit(small)
        assert not second.is_set()
        leave.set()
        first.result()
        other.result()
    assert second.is_set()
    for _ in range(3):
        try:
            with budget.holding(100):
                raise ValueError
        except ValueError:
            pass
    with budget.holding(100):
        pass
    assert LEAST <= DECODING.size <= MOST
