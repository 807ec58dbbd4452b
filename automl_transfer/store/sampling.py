"""A study as samplers and pruners see it: read in a few queries, held in memory, one trial a strategy.

Optuna's samplers call `get_all_trials` several times for each suggestion, and its cached storage
reads every unfinished trial again on each call, through the ORM. Here a refresh reads what is new,
once; suggesting then costs no query, and the finished draft is written in one transaction
(`Trials.create`). A strategy that crashed and was continued is several trials of one root: it is
shown once, under its root's number (from which Hyperband derives its bracket). One that is paused at a rung
is PRUNED here, with what it had there, so that samplers learn from it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from automl_transfer.errors import TrialLostError, UnreadableRowError
from automl_transfer.store import parsing, reading, soundness
from automl_transfer.store import tables as t
from automl_transfer.store.details import Details, chunks
from automl_transfer.store.rungs import Changes
from automl_transfer.store.snapshot import BEST, DRAFT_ID, Snapshot
from automl_transfer.store.store import Store
from automl_transfer.store.values import StudyHandle

log = logging.getLogger(__name__)

_OPEN = (OptunaState.WAITING.name, OptunaState.RUNNING.name)


class SamplerHistory:
    """Gives samplers and pruners the study as it is now, and no way to change a trial.

    What a sampler notes about its draft (TPE's relative params) stays in the draft: other workers
    learn the whole draft from the store when it is created. What a pruner notes about a running trial
    (its rungs) is written. Everything else is refused. Not safe from several threads.

    Of a study with more than `most` trials, samplers see the newest so many, besides the 50 best, those
    that no sampler drew, and the open ones. The others are not even read where no pruner compares with
    them (`compared` is False).
    """

    def __init__(
        self, store: Store, study: StudyHandle, *, most: int | None = None, compared: bool = True
    ) -> None:
        self._most = most
        self._forgets = most is not None and not compared
        self.store = store
        self.handle = study
        self._snapshot = Snapshot(store, study)
        self._seen = -1
        self._open: set[int] = set()
        self._rungs = Changes(study.study_id)
        self._known: dict[str, BaseDistribution] = {}
        self._left_out: dict[int, str] = {}

    def draft(self, sampler: BaseSampler) -> tuple[Study, FrozenTrial]:
        """The study as of now, and a blank RUNNING trial whose number is the next free one.

        `constant_liar` filters out the trial with the draft's own number; the next free number keeps
        all others in sight. Curves of running trials may be old: samplers do not read them.
        """
        self._refresh(curves=False)
        draft = FrozenTrial(
            number=self._snapshot.next_number(),
            state=OptunaState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=DRAFT_ID,
        )
        self._snapshot.draft, self._snapshot.most = draft, self._most
        return self._study(sampler=sampler), draft

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Those that the study's parameters have had, as of the last look."""
        return self._known

    def should_prune(self, pruner: BasePruner, trial_id: int) -> bool:
        """Whether the pruner would stop a trial, with all curves as they are now.

        Raises:
            TrialLostError: The trial is no longer its root's newest, or no longer running.
        """
        self._refresh(curves=True)
        self._snapshot.most = None
        trial = self._snapshot.find(trial_id)
        if trial is None or trial.state.is_finished():
            raise TrialLostError("the trial belongs to another worker now")
        return self.store.patience.run(
            lambda: bool(pruner.prune(self._study(pruner=pruner), trial)), "ask the pruner"
        )

    def trials(self, *, patient: bool = True) -> list[FrozenTrial]:
        """Each strategy's latest trial as of now, as samplers see them; curves of running ones may be old.

        Raises:
            StoreUnavailableError: The store does not answer: at once where not `patient`.
        """
        self._refresh(curves=False, patient=patient)
        return self.known()

    def known(self) -> list[FrozenTrial]:
        """The same as of the last look; nothing is read."""
        self._snapshot.most = self._most
        return self._snapshot.latest()

    def best(self) -> float | None:
        """The highest value of a complete trial; None before there is one."""
        complete = (each for each in self.trials() if each.state is OptunaState.COMPLETE)
        return max((each.value for each in complete if each.value is not None), default=None)

    def numbered(self) -> int:
        """How many trials the study has had so far, whatever became of them."""
        self._refresh(curves=False)
        return self._snapshot.next_number()

    def _study(self, **parts: Any) -> Study:
        # A new object each time: Study keeps the trials of its last `ask`.
        return optuna.load_study(study_name=self.handle.name, storage=self._snapshot, **parts)

    def _refresh(self, *, curves: bool, patient: bool = True) -> None:
        patience = self.store.patience
        self.store.read(
            lambda connection: self._read(connection, curves),
            "read the study's trials",
            patience=patience if patient else dataclasses.replace(patience, seconds=0.0),
        )

    def _read(self, connection: sa.Connection, curves: bool) -> None:
        columns = sa.select(
            t.at_trials.c.label,
            t.trials.c.trial_id,
            t.trials.c.number,
            parsing.raw(t.trials.c.state),
            parsing.raw(t.trials.c.datetime_start),
            parsing.raw(t.trials.c.datetime_complete),
            t.at_trials.c.root,
            t.at_rungs.c.value.label("paused"),
        ).outerjoin(t.at_trials, t.at_trials.c.trial_id == t.trials.c.trial_id)
        columns = columns.outerjoin(t.at_rungs, t.pauses())
        mine = t.trials.c.study_id == self.handle.study_id
        first = self._seen < 0
        ids: list[int] | None = None
        if first and self._forgets and self._most is not None:
            ids = reading.window(connection, self.handle.study_id, self._most, BEST)
            self._rungs.skip(connection)
        found = [] if ids is not None else list(connection.execute(columns.where(mine, self._is_new())))
        for chunk in chunks(ids or []):
            found += connection.execute(columns.where(t.trials.c.trial_id.in_(chunk)))
        at_rungs = self._rungs.look(connection)  # what paused, or went on from where it was
        moved = {row.trial_id for row in at_rungs}
        seen = {row.trial_id for row in found}
        for chunk in chunks(sorted((self._open | moved) - seen)):
            found += connection.execute(columns.where(t.trials.c.trial_id.in_(chunk)))
        changed = [row for row in found if curves or row.trial_id in moved or self._is_news(row)]
        if not changed:
            return
        if first:
            self._known.update(soundness.distributions(connection, self.handle.study_id))
        if not first:
            ids = [row.trial_id for row in changed]
        details = Details(connection, self.handle.study_id, ids, self._known)
        for row in changed:
            self._seen = max(self._seen, row.trial_id)
            self._snapshot.count(row.number)
            if row.state in _OPEN and row.paused is None:
                self._open.add(row.trial_id)
            else:
                self._open.discard(row.trial_id)
            self._take_in(row, details)
        self._rungs.seen(at_rungs)  # not before: a read that the database breaks off is tried again
        if self._forgets and self._most is not None:
            self._snapshot.drop_old(self._most)

    def _is_new(self) -> sa.ColumnElement[bool]:
        return t.trials.c.trial_id > self._seen

    def _take_in(self, row: Any, details: Details) -> None:
        """Put a trial into the history; one that cannot be read is left out, and said once."""
        try:
            trial = details.frozen(row)
            root = trial.number if row.root is None else parsing.whole(row.root, "root")
            known = self._snapshot.by_number.get(trial.number)
            if known is not None and known._trial_id != row.trial_id:
                raise UnreadableRowError(f"its number must be its own, got {trial.number}, which another has")
        except UnreadableRowError as error:
            if self._left_out.get(row.trial_id) != str(error):
                self._left_out[row.trial_id] = str(error)
                log.warning("trial %s is left out of the sampler's history: %s", row.number, error)
            self._snapshot.forget(row.trial_id)
            return
        self._snapshot.put(trial, root, told=bool(row.label))

    def _is_news(self, row: Any) -> bool:
        """Whether a trial must be read (again): new, changed, or of someone else's making."""
        known = self._snapshot.by_number.get(row.number)
        return known is None or known.state.name != row.state or row.root is None
