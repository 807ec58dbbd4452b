"""What a limit on the sampler's history costs: a search over the whole space on a function that is known.

A strategy's worth falls with its distance to one that nobody is told, and is noisy. Curves of the recorded
table would say less here: it has a dozen strategies a task, and a long search has met them all.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "table"))
import numpy as np
from memory_study import Memory, MemoryHistory
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState
from strategies import quick_space

from automl_transfer.domain.spec import SearchSpec
from automl_transfer.search.draft import draw
from automl_transfer.search.likeness import Likeness
from automl_transfer.search.samplers import make_sampler
from automl_transfer.store.snapshot import window

NOISE = 0.01


class Windowed(Memory):
    """As a study with a limit shows itself to samplers."""

    def __init__(self, name: str, most: int | None) -> None:
        super().__init__(name)
        self._most = most

    def latest(self) -> list[FrozenTrial]:
        return self.trials if self._most is None else window(self.trials, self._most)


def search(most: int | None, seed: int, trials: int) -> dict[str, Any]:
    """The best true worth after each quarter of the draws, and seconds that all of them took."""
    space, history = quick_space(), MemoryHistory("learnt")
    hidden = draw(MemoryHistory("hidden"), RandomSampler(seed=1000 + seed), space).strategy  # type: ignore[arg-type]
    history._memory = Windowed("learnt", most)
    likeness, random = Likeness([hidden]), np.random.default_rng(seed)
    sampler = make_sampler(SearchSpec(max_epochs=9), seed)
    best, shown, found = -math.inf, -math.inf, []
    began = time.process_time()
    for number in range(1, trials + 1):
        draft = draw(history, sampler, space)  # type: ignore[arg-type]
        made = history.create(draft)
        worth = math.exp(-float(likeness.distances(draft.strategy)[0]) / 8.0)
        seen = worth + NOISE * float(random.normal())
        # Two of three stop at their first rung, as in a search that promotes.
        ranked = sorted((t.value for t in history.trials() if t.value is not None), reverse=True)
        whole = len(ranked) < 3 or seen >= ranked[len(ranked) // 3]
        for epoch in range(1, 10 if whole else 4):
            history.report(made, epoch, seen)
        history.tell(made, TrialState.COMPLETE if whole else TrialState.PRUNED, seen)
        if whole and seen > shown:  # what a search would answer
            shown, best = seen, worth
        if number % (trials // 4) == 0:
            found.append(round(best, 4))
    return {"most": most, "seed": seed, "worth": found, "seconds": round(time.process_time() - began, 1)}
