"""The contract between workers and the store. Every method is one transaction over Optuna's rows and ours.

What holds for every method:

- **Atomic.** A process killed at any statement leaves the store as it was before the method, or after.
- **Exactly once.** The method may be run again after a COMMIT whose answer was lost: a token chosen
  before the first try tells a repeat from a second call.
- **Fenced.** A claim is good until its lease is lost (a beat overdue, reaped; or the trial finished or
  deleted by something else). After that every write raises `TrialLostError` and changes nothing.
- **Patient.** Trouble of the database is waited out; longer than the store's patience,
  `StoreUnavailableError`.
- **Concurrent.** Safe from any number of threads, processes and machines.

Times are the database's. A claim may be used by several threads of its worker (training and beats).
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from optuna.artifacts import ArtifactMeta

from automl_transfer.domain.records import (
    EpochResult,
    StopKind,
    StopReason,
    TrialOutcome,
    TrialRecord,
    TrialState,
)
from automl_transfer.store import continuing, creating, leases, reading
from automl_transfer.store import optuna_rows as rows
from automl_transfer.store import tables as t
from automl_transfer.store.claiming import held, take_oldest
from automl_transfer.store.engine import now
from automl_transfer.store.reaper import reap
from automl_transfer.store.records import StudyTrials, study_trials
from automl_transfer.store.store import Store
from automl_transfer.store.studies import deleted
from automl_transfer.store.values import (
    CheckpointRef,
    Claim,
    Counts,
    Reaped,
    StudyHandle,
    TrialDraft,
    WorkerRow,
)


class Trials:
    """The steps of a trial's life, on one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._spaces = creating.KnownSpaces(store)
        self._passed: dict[int, set[int]] = {}

    def enqueue(
        self,
        study: StudyHandle,
        draft: TrialDraft,
        *,
        once: str | None = None,
        limit: int | None = None,
        distinct: bool = False,
    ) -> int | None:
        """Add a WAITING root trial, for any worker to claim.

        Args:
            study: The study.
            draft: What the trial shall be.
            once: A key that is used at most once in a study, however many processes try.
            limit: At most so many root trials in the study.
            distinct: Only where no root trial of the study has this strategy.

        Returns:
            The new trial's number; None when `once` was used before, or the study has `limit` root trials, or
            one of this strategy.

        Raises:
            StudyError: The study is gone, or a parameter's distribution differs from earlier trials'.
        """
        nonce = uuid.uuid4().hex
        draft = self._spaces.fitted(study.study_id, draft)

        def step(connection: sa.Connection, repeat: bool) -> int | None:
            creating.lock(connection, study)
            if repeat and (done := creating.created(connection, nonce)) is not None:
                return done[1]
            if (
                once is not None
                and connection.execute(
                    sa.select(t.at_trials.c.trial_id).where(
                        t.at_trials.c.study_id == study.study_id, t.at_trials.c.once == once
                    )
                ).first()
            ):
                return None
            made = creating.insert_root(
                connection, study, draft, nonce, once=once, worker=None, limit=limit, distinct=distinct
            )
            return None if made is None else made[1]

        return self.store.write_once(step, "enqueue a trial")

    def enqueued(self, study: StudyHandle, once: str) -> bool:
        """Whether a trial was enqueued under this key."""
        query = sa.select(t.at_trials.c.trial_id).where(
            t.at_trials.c.study_id == study.study_id, t.at_trials.c.once == once
        )
        return self.store.read(lambda c: c.execute(query).first() is not None, "look for a trial")

    def create(
        self,
        study: StudyHandle,
        draft: TrialDraft,
        worker: str,
        *,
        limit: int | None = None,
        distinct: bool = False,
    ) -> Claim | None:
        """Add a root trial that runs at once, leased to `worker`.

        Args:
            study: The study.
            draft: What the trial shall be.
            worker: Who runs it, a name for people.
            limit: At most so many root trials in the study, exactly, whoever creates them.
            distinct: Only where no root trial of the study has this strategy: of several workers that draw
                the same one, exactly one gets it.

        Returns:
            The claim; None when the study has `limit` root trials, or one of this strategy.

        Raises:
            StudyError: The study is gone, or a parameter's distribution differs from earlier trials'.
        """
        token = uuid.uuid4().hex
        draft = self._spaces.fitted(study.study_id, draft)

        def step(connection: sa.Connection, repeat: bool) -> tuple[int, int] | None:
            creating.lock(connection, study)
            if repeat and (done := creating.created(connection, token)) is not None:
                return done
            return creating.insert_root(
                connection, study, draft, token, once=None, worker=worker, limit=limit, distinct=distinct
            )

        made = self.store.write_once(step, "create a trial")
        if made is None:
            return None
        return Claim(
            study.study_id, made[0], made[1], made[1], 0, token, draft.strategy, label=draft.label
        )  # fmt: skip

    def claim(self, study: StudyHandle, worker: str) -> Claim | None:
        """Take the oldest WAITING trial of ours; exactly one worker gets it.

        Trials that something else enqueued (they have no strategy) are left alone. So are those of a newer
        program that this one cannot read: they wait for a worker that can. One that no program can read
        fails here, with its reason.

        Returns:
            The claim with the inherited curve and checkpoint; None when nothing waits for this program.

        Raises:
            StudyError: The study is gone.
        """
        passed = self._passed.setdefault(study.study_id, set())
        wait = self.store.read(lambda c: reading.waiting_ids(c, study), "look for a trial")
        if wait is None:
            raise deleted(study)
        if passed.issuperset(wait):
            return None
        token = uuid.uuid4().hex

        def step(connection: sa.Connection, repeat: bool) -> Claim | None:
            if repeat and (claim := held(connection, token)) is not None:
                return claim
            return take_oldest(connection, study, worker, token, passed)

        return self.store.write_once(step, "claim a trial")

    def beat(self, claims: Sequence[Claim | str]) -> list[str]:
        """Say that these claims (or tokens) are alive.

        Returns:
            The tokens that are lost: their trials must stop and write nothing. Never raises for them.
        """
        tokens = [c if isinstance(c, str) else c.token for c in claims]
        if not tokens:
            return []
        running = sa.select(t.trials.c.trial_id).where(
            t.trials.c.trial_id == t.at_leases.c.trial_id, t.trials.c.state == rows.RUNNING
        )
        statement = (
            sa.update(t.at_leases)
            .where(t.at_leases.c.token.in_(tokens), running.exists())
            .values(beat=now(), suspected=None)
            .returning(t.at_leases.c.token)
        )
        alive = set(self.store.write(lambda c: c.execute(statement).scalars().all(), "beat"))
        return [token for token in tokens if token not in alive]

    def record_epoch(self, claim: Claim, result: EpochResult, value: float) -> None:
        """Store an epoch and its value (what a pruner sees); counts as a beat. A repeat overwrites.

        Raises:
            TrialLostError: The claim is lost.
        """

        def step(connection: sa.Connection, _repeat: bool) -> None:
            leases.fence(connection, claim, epoch=result.epoch)
            row = {"trial_id": claim.trial_id, "epoch": result.epoch, "result": result.model_dump_json()}
            rows.upsert(connection, t.at_epochs, ("trial_id", "epoch"), row)
            rows.set_intermediate(connection, claim.trial_id, result.epoch, value)

        self.store.write_once(step, "record an epoch")

    def save_checkpoint_ref(self, claim: Claim, checkpoint: CheckpointRef) -> None:
        """Note a checkpoint that is whole in the artifact store; counts as a beat. A repeat overwrites.

        It takes the place of those of earlier epochs.

        Raises:
            TrialLostError: The claim is lost.
        """
        row = {
            "trial_id": claim.trial_id,
            "epoch": checkpoint.epoch,
            "uri": checkpoint.uri,
            "sha256": checkpoint.sha256,
            "bytes": checkpoint.bytes,
            "conditions": "{}",  # of the first programs, which never read it
        }

        def step(connection: sa.Connection, _repeat: bool) -> None:
            leases.fence(connection, claim)
            rows.upsert(connection, t.at_checkpoints, ("trial_id", "epoch"), row)
            c = t.at_checkpoints.c
            earlier = sa.and_(c.trial_id == claim.trial_id, c.epoch < checkpoint.epoch)
            connection.execute(sa.delete(t.at_checkpoints).where(earlier))

        self.store.write_once(step, "note a checkpoint")

    def finish(
        self,
        claim: Claim,
        state: TrialState,
        value: float | None,
        stop: StopReason,
        outcome: TrialOutcome | None = None,
        artifacts: Sequence[ArtifactMeta] = (),
    ) -> None:
        """End a trial as COMPLETE or PRUNED. Repeated with the same claim, it does nothing.

        Args:
            claim: The right to do so.
            state: COMPLETE or PRUNED.
            value: The objective's value.
            stop: Why it ended.
            outcome: What it cost.
            artifacts: Files in the artifact store that Optuna's tools shall show with the trial.

        Raises:
            TrialLostError: The claim is lost.
            ValueError: Another state, or COMPLETE without a value, or a value that is not a number.
        """
        if state not in (TrialState.COMPLETE, TrialState.PRUNED):
            raise ValueError(f"finish takes COMPLETE or PRUNED, got {state.value}; use fail or release")
        if (value is None and state == TrialState.COMPLETE) or (value is not None and math.isnan(value)):
            raise ValueError(f"a {state.value} trial's value must be a number, got {value}: use fail")

        def step(connection: sa.Connection, _repeat: bool) -> None:
            if not leases.close(connection, claim, stop, outcome, artifacts):
                return
            leases.must(rows.set_state(connection, claim.trial_id, rows.to_optuna(state)), claim)
            if value is not None:
                rows.set_value(connection, claim.trial_id, value)

        self.store.write_once(step, "finish a trial")

    def release(self, claim: Claim, stop: StopReason | None = None) -> None:
        """Give the same trial back: WAITING again, its curve kept up to its last checkpoint.

        Repeated with the same claim, it does nothing.

        Raises:
            TrialLostError: The claim is lost.
        """
        reason = stop or StopReason(kind=StopKind.RELEASED)

        def step(connection: sa.Connection, _repeat: bool) -> None:
            if not leases.close(connection, claim, reason, None):
                return
            leases.must(rows.set_state(connection, claim.trial_id, rows.WAITING), claim)
            continuing.trim_to_checkpoint(connection, claim.trial_id)

        self.store.write_once(step, "release a trial")

    def restart(self, claim: Claim) -> None:
        """Start a claimed trial over because its checkpoint is gone: curve and checkpoints are cleared.

        Counted in `restarts`, once for each claim; a repeat within the same claim does nothing.

        Raises:
            TrialLostError: The claim is lost.
        """

        def step(connection: sa.Connection, _repeat: bool) -> None:
            leases.fence(connection, claim)
            first = connection.execute(
                sa.update(t.at_leases)
                .where(t.at_leases.c.token == claim.token, t.at_leases.c.restarted.is_(False))
                .values(restarted=True, epoch=None)
            )
            if first.rowcount == 0:
                return
            continuing.clear(connection, claim.trial_id)
            connection.execute(
                sa.update(t.at_trials)
                .where(t.at_trials.c.trial_id == claim.trial_id)
                .values(restarts=t.at_trials.c.restarts + 1)
            )

        self.store.write_once(step, "restart a trial")

    def fail(
        self,
        claim: Claim,
        stop: StopReason,
        *,
        retry: bool,
        artifacts: Sequence[ArtifactMeta] = (),
    ) -> int | None:
        """End a trial as FAIL; with `retry`, add its one child while attempts remain (`max_attempts`).

        The child waits with the same params, root and curve up to the last checkpoint. Repeated with
        the same claim, it returns the same child.

        Returns:
            The child's number; None when there is none.

        Raises:
            TrialLostError: The claim is lost.
        """

        def step(connection: sa.Connection, _repeat: bool) -> int | None:
            rows.lock_study(connection, claim.study_id)
            if not leases.close(connection, claim, stop, None, artifacts):
                return continuing.child_number(connection, claim.trial_id)
            leases.must(rows.set_state(connection, claim.trial_id, rows.to_optuna(TrialState.FAIL)), claim)
            return continuing.make_child(connection, claim.trial_id) if retry else None

        return self.store.write_once(step, "fail a trial")

    def reap(self, study: StudyHandle, *, grace: float, dead: Sequence[str] = ()) -> list[Reaped]:
        """Fail trials whose workers are lost, each with its one child. See `reaper.reap`."""
        return reap(self.store, study.study_id, grace=grace, dead=dead)

    def counts(self, study: StudyHandle) -> Counts:
        """Trials by state, and the roots that keep the study unfinished. Reads only."""
        return self.store.read(lambda c: reading.counts(c, study.study_id), "count trials")

    def is_full(self, study: StudyHandle, limit: int) -> bool:
        """Whether a study has `limit` root trials: cheap, however many there are."""
        return self.store.read(lambda c: creating.is_full(c, study.study_id, limit), "count strategies")

    def need_newer(self, study: StudyHandle) -> tuple[int, ...]:
        """Numbers of the open trials, where only a newer program can run any of them; else none."""
        passed = self._passed.setdefault(study.study_id, set())
        return self.store.read(lambda c: reading.need_newer(c, study.study_id, passed), "look for trials")

    def best_value(self, study: StudyHandle) -> float | None:
        """The highest value of a complete trial, for displays: one number is read."""
        return self.store.read(lambda c: reading.best_value(c, study.study_id), "look for the best trial")

    def read(self, study: StudyHandle | int) -> StudyTrials:
        """All trials of a study (ours, or by id one of plain Optuna), and which of them cannot be read.

        A few queries in all.
        """
        study_id = study if isinstance(study, int) else study.study_id
        return self.store.read(lambda c: study_trials(c, study_id), "read trials")

    def records(self, study: StudyHandle | int) -> list[TrialRecord]:
        """All trials of a study that can be read, by number."""
        return self.read(study).records

    def workers(self, study: StudyHandle) -> list[WorkerRow]:
        """Who runs what now. Reads only."""
        return self.store.read(lambda c: reading.workers(c, study.study_id), "read workers")
