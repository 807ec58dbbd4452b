"""What a search says of its progress counts each strategy once, however often it paused, failed or was begun."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from search_helpers import DONE, digits, epoch, open_study

from automl_transfer.cli.live import LiveSearch
from automl_transfer.domain.records import StopKind, StopReason, TrialOutcome, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.search.draft import fixed_draft
from automl_transfer.search.objective import TrialEnd
from automl_transfer.space.space import Space
from automl_transfer.store.rungs import Rungs
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, Mark, StudyHandle

WAITS = StopReason(kind=StopKind.PAUSED, detail="after epoch 1 of 9")
CRASHED = StopReason(kind=StopKind.CRASHED, detail="the worker died")


class Search:
    """The ends of trials, in the store and to whoever watches."""

    def __init__(self, store: Store, study: StudyHandle) -> None:
        self.store, self.study, self.trials = store, study, Trials(store)
        self.watched: LiveSearch | None = None

    def watch(self) -> io.StringIO:
        screen = io.StringIO()
        self.watched = LiveSearch(Console(file=screen, width=200), self.study.spec, every=3600)
        self.watched.on_study(self.study, self.trials)
        return screen

    def begin(self, rate: float) -> Claim:
        draft = fixed_draft(Strategy(learning_rate=rate), Space.of_study(self.study.spec), "")
        claim = self.trials.create(self.study, draft, "w")
        assert claim is not None
        return claim

    def pause(self, claim: Claim, rung: int) -> Mark:
        mark = Mark(claim.root, rung, "full", 0.5, 1.0, 1.0)
        self.trials.record_epoch(claim, epoch(rung, 0.5), 0.5)
        Rungs(self.store, self.study).pause(claim, mark, WAITS, TrialOutcome())
        self._tell(claim, TrialEnd(TrialState.WAITING, WAITS, 0.5, paused=mark))
        return mark

    def fail(self, claim: Claim) -> Claim:
        """The one that goes on."""
        self.trials.fail(claim, CRASHED, retry=True)
        self._tell(claim, TrialEnd(TrialState.FAIL, CRASHED))
        again = self.trials.claim(self.study, "w")
        assert again is not None
        return again

    def complete(self, claim: Claim) -> None:
        self.trials.record_epoch(claim, epoch(9, 0.6), 0.6)
        self.trials.finish(claim, TrialState.COMPLETE, 0.6, DONE)
        self._tell(claim, TrialEnd(TrialState.COMPLETE, DONE, 0.6))

    def _tell(self, claim: Claim, end: TrialEnd) -> None:
        if self.watched is not None:
            self.watched.on_end(claim, end)

    def told(self, screen: io.StringIO) -> str:
        assert self.watched is not None
        self.watched._still("so far")
        return screen.getvalue().splitlines()[-1].partition("so far ")[2]


def test_a_strategy_counts_once_through_pauses_failures_and_another_begin(tmp_path: Path) -> None:
    store, study = open_study(tmp_path, digits(), {"learning_rate": "search"}, trials=4)
    with store:
        search = Search(store, study)
        screen = search.watch()
        paused, failing = search.begin(1e-3), search.begin(2e-3)
        mark = search.pause(paused, 1)
        going = Rungs(store, study).promote(mark, "w")
        assert going is not None
        further = search.pause(going, 3)
        assert search.told(screen) == "(1 of 4 strategies)"
        going = search.fail(failing)
        search.complete(going)
        assert search.told(screen) == "(2 of 4 strategies, best 0.600)"
        crashed = search.fail(search.begin(3e-3))

        screen = search.watch()  # the same command again
        assert "going on after 2 finished trials" in screen.getvalue()
        last = Rungs(store, study).promote(further, "w")
        assert last is not None
        search.complete(last)
        assert search.told(screen) == "(2 of 4 strategies, best 0.600)"
        search.complete(crashed)
        assert search.told(screen) == "(3 of 4 strategies, best 0.600)"
