"""What several searches of one study share beside its trials: each piece of work is done by one of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from automl_transfer.aborting import check_abort
from automl_transfer.store.claims import Claims, Held, new_token, write_claim
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import StudyHandle
from automl_transfer.workers.identity import at_work, is_dead, new_worker_id
from automl_transfer.workers.repeated import Repeated

if TYPE_CHECKING:
    import sqlalchemy as sa

log = logging.getLogger(__name__)

FIRST = "first answers"
"""The profile, and enqueueing what follows from it."""
SHIP = "ship"
"""Choosing and shipping the winner."""
BEAT = 5.0
"""Seconds between two beats for what is held."""
SEARCH = "search "
"""Prefix of a search whose time is limited; workers that join it leave when it ends."""


def confirm_work(root: int, run: int) -> str:
    """The name of a confirmation run."""
    return f"confirm {root} {run}"


@dataclass(frozen=True)
class Founder:
    """Who creates a study and makes its first answers: see `founding`."""

    worker_id: str
    token: str

    def take_first(self, connection: sa.Connection, study_id: int) -> None:
        """Hold `FIRST`: a step of the transaction that creates the study, for no worker to come before."""
        write_claim(connection, study_id, FIRST, self.worker_id, self.token)


@contextmanager
def founding() -> Iterator[Founder]:
    """At work, with a name and a token, before there is a study. `SharedWork` goes on with both."""
    founder = Founder(new_worker_id(), new_token())
    with at_work(founder.worker_id):
        yield founder


class SharedWork(Repeated):
    """Holds pieces of work of a study, and beats for them until the block is left.

    Work of a process that ended is taken over at once where that can be seen (same machine), else after
    `grace` seconds without a beat. `founder` is who may have created the study, and holds `FIRST` then.
    """

    def __init__(
        self,
        store: Store,
        study: StudyHandle,
        founder: Founder | None = None,
        *,
        grace: float = 60.0,
        poll: float = 0.25,
    ) -> None:
        super().__init__("beat for shared work", BEAT)
        self.worker_id = founder.worker_id if founder else new_worker_id()
        token = founder.token if founder else None
        self._claims = Claims(store, study, self.worker_id, grace=grace, is_dead=is_dead, token=token)
        self._poll = poll
        # Where the study was there before, it beats for nothing.
        self._held: set[str] = {FIRST} if founder else set()
        self._ends: float | None = None
        self._at_work = at_work(self.worker_id)

    def __enter__(self) -> Self:
        self._at_work.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        try:
            if self._held:
                self._claims.give_back(patience=2.0)
        except Exception as trouble:  # it runs out by itself; what ended the block is what to tell
            log.warning("work was not given back: %s: %s", type(trouble).__name__, trouble)
        finally:
            self._at_work.__exit__(None, None, None)

    def take(self, work: str) -> bool:
        """Take a piece of work on; False while another living process has it."""
        if not self._claims.take(work):
            return False
        self._held.add(work)
        return True

    def wait(
        self,
        work: str,
        on_wait: Callable[[], None] = lambda: None,
        unless: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Take a piece of work on, waiting while another process has it.

        Args:
            work: What.
            on_wait: Told once, before it waits.
            unless: Asked while it waits: whether there is no need any more.

        Returns:
            Whether it is held now; False where there was no need.

        Raises:
            Aborted: That was asked for.
        """
        waited = False
        while not self.take(work):
            if not waited:
                on_wait()
                waited = True
            if unless():
                return False
            check_abort()
            self.pause()
        return True

    def pause(self) -> None:
        """Wait a moment for others."""
        self._end.wait(self._poll)

    def give_back(self, work: str) -> None:
        """Let others have it."""
        self._claims.give_back(work)
        self._held.discard(work)

    def ends_in(self, seconds: float) -> None:
        """Say when the search of this process ends, to workers that run its trials; again with each beat."""
        self._ends = time.monotonic() + seconds
        self._tell_end(self._ends)

    def _tell_end(self, ends: float) -> None:
        work = f"{SEARCH}{self.worker_id}"
        if work in self._held or self.take(work):
            self._claims.ends_in(work, ends - time.monotonic())

    def others(self) -> list[Held]:
        """What living processes hold, this one included."""
        return self._claims.held()

    def step(self) -> None:
        """Beat for what is held."""
        if self._ends is not None:  # the database's clock goes on while a machine sleeps, its own does not
            self._tell_end(self._ends)
        if self._held:
            self._claims.beat()


class FirstElsewhere:
    """What a worker that makes no first answers does before it draws: it waits for those that another makes.

    Whoever profiles a study holds `FIRST`. Strategies that are drawn meanwhile would take up the budget that
    the first answers are to come from, and would know nothing of them.
    """

    def __init__(
        self,
        store: Store,
        study: StudyHandle,
        on_wait: Callable[[str], None] = lambda reason: None,
        *,
        poll: float = 0.5,
    ) -> None:
        self._claims = Claims(store, study, "", grace=60.0, is_dead=is_dead)
        self._trials = Trials(store)
        self._study = study
        self._on_wait = on_wait
        self._poll = poll

    def __call__(self) -> bool:
        """Wait while there is need; whether something may be waiting to be run now.

        Raises:
            Aborted: That was asked for.
        """
        waited = False
        while any(each.work == FIRST for each in self._claims.held()):
            if waited and self._trials.counts(self._study).waiting:
                break
            self._on_wait("another process makes the first answers")
            waited = True
            check_abort()
            time.sleep(self._poll)
        return waited
