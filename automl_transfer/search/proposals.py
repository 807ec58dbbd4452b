"""What a worker tries next: the sampler's draws, looked at beside what they take and what time is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from optuna.samplers import BaseSampler

from automl_transfer.domain.spec import SearchSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.choosing import DRAWS, Choice
from automl_transfer.search.cost import Cost
from automl_transfer.search.draft import draw
from automl_transfer.space.space import Space
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.spent import Spent
from automl_transfer.store.values import TrialDraft


@dataclass(frozen=True)
class Proposal:
    """A strategy to try.

    Attributes:
        fits: Whether its whole training can be expected to end in the time that is left: what only comes to a
            rung cannot ship.
    """

    draft: TrialDraft
    fits: bool


class Proposals:
    """Draws for one worker. Not safe from several threads.

    Args:
        history: The study as samplers see it.
        sampler: Who draws.
        space: Of what.
        search: The study's settings.
        cost: Makes what predicts seconds, at the first draw that asks for it.
        news: What trials reached and took since it was asked last.
        by_seconds: Whether improvement is expected a second, where there are several draws.
    """

    def __init__(
        self,
        history: SamplerHistory,
        sampler: BaseSampler,
        space: Space,
        search: SearchSpec,
        cost: Callable[[], Cost],
        news: Callable[[], Iterable[Spent]],
        *,
        by_seconds: bool = True,
    ) -> None:
        self._history, self._sampler, self._space, self._search = history, sampler, space, search
        self._make = cost
        self._cost: Cost | None = None
        self._choice: Choice | None = None
        self._news = news
        self._by_seconds = by_seconds

    def next(self, left: float = math.inf) -> Proposal:
        """A draw; with `search.cost` the best of several a predicted second. Cheap ones where time is short.

        Args:
            left: Seconds that trials have left.
        """
        if not self._search.cost and left == math.inf:
            return Proposal(draw(self._history, self._sampler, self._space), fits=True)
        cost, choice = self._learn()
        wanted = DRAWS if self._search.cost else 1
        fitting: list[TrialDraft] = []
        late: list[TrialDraft] = []
        while len(fitting) < wanted and len(fitting) + len(late) < DRAWS:
            draft = draw(self._history, self._sampler, self._space)
            (fitting if left == math.inf or cost.seconds(draft.strategy) <= left else late).append(draft)
        if fitting:
            return Proposal(fitting[choice.best([draft.strategy for draft in fitting])], fits=True)
        return Proposal(min(late, key=lambda draft: cost.seconds(draft.strategy)), fits=False)

    def fits(self, strategy: Strategy, left: float) -> bool:
        """Whether the whole training of a strategy can be expected to end in `left` seconds."""
        return left == math.inf or self._learn()[0].seconds(strategy) <= left

    def part_ways(self) -> None:
        """Draw differently from now on: another worker began with the same seed, and draws the same."""
        self._sampler.reseed_rng()

    def _learn(self) -> tuple[Cost, Choice]:
        if self._cost is None or self._choice is None:
            self._cost = self._make()
            self._choice = Choice(self._cost if self._by_seconds else None)
        for spent in self._news():
            self._cost.learn(spent.root, spent.strategy, spent.whole(self._search.epochs))
            self._choice.learn(spent.root, spent.strategy, spent.value)
        return self._cost, self._choice
