"""The worker: claims trials, runs them, and hands in their ends, until the study's budget is used up."""

# ruff: noqa: D102  (a silent observer explains itself)

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from automl_transfer.aborting import Aborted, abortable
from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialState, classify
from automl_transfer.errors import AutomlTransferError, ConfigurationError, OutputError, TrialLostError
from automl_transfer.files import free_bytes
from automl_transfer.search.beginning import Beginning
from automl_transfer.search.checkpoints import Checkpoints
from automl_transfer.search.noise import raised_budget, why_finished
from automl_transfer.search.objective import Objective, TrialEnd
from automl_transfer.search.promoting import Ended, Promotion
from automl_transfer.search.proposals import Proposals
from automl_transfer.search.samplers import make_pruner, make_sampler, worker_seed
from automl_transfer.search.warm import Warm, claim_proposal
from automl_transfer.search.workbench import Workbench
from automl_transfer.space.space import Space, unknown_methods
from automl_transfer.store.files import study_files
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.spent import SpentNews
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, Reaped, StudyHandle
from automl_transfer.workers.heartbeat import Heartbeat
from automl_transfer.workers.identity import at_work, new_worker_id
from automl_transfer.workers.signals import StopRequest
from automl_transfer.workers.spool import Spool, SpooledEnd, spool_folder

log = logging.getLogger(__name__)

TOO_LATE = "what is left of the time is too short for another strategy"
MOST_LATE = 3
"""Trials that may begin after the time is up, where none is complete."""
GIVE_BACK_SECONDS = 3.0
"""How long the store is tried when an error or an interrupt ends a worker."""


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker behaves. Times in seconds.

    Attributes:
        beat: Between two beats of the lease.
        grace: Age of a beat after which a trial is taken from its worker: longer than the longest
            outage of the database that is to be survived, plus two beats.
        checkpoint: Training time that a crash may cost.
        finish_epoch: How long an epoch under way may take to end once stopping was asked for.
        max_trials: Trials that this worker runs at most, to their end or to a pause.
        idle_exit: Leave after this long without anything to do; None waits for the study's end.
        min_free_bytes: Refuse new trials where the disk has less.
    """

    beat: float = 5.0
    grace: float = 60.0
    checkpoint: float = 30.0
    finish_epoch: float = 4.0
    max_trials: int | None = None
    idle_exit: float | None = None
    min_free_bytes: int = 200_000_000
    index: int = 0
    poll: float = 1.0


class Observer(Protocol):
    """Told about a worker's progress. Called from the worker's threads; must not raise."""

    def on_claim(self, claim: Claim) -> None:
        """A trial starts or goes on."""

    def on_epoch(self, claim: Claim, result: EpochResult) -> None:
        """An epoch is in the store."""

    def on_end(self, claim: Claim, end: TrialEnd) -> None:
        """A trial ended."""

    def on_reaped(self, reaped: Reaped) -> None:
        """A trial of a dead worker was handed on."""

    def on_paused_ended(self, ended: Ended) -> None:
        """Paused trials ended, if any: they go on no more."""

    def on_idle(self, reason: str) -> None:
        """Nothing to do at the moment."""


class SilentObserver:
    """Shows nothing."""

    def on_claim(self, claim: Claim) -> None: ...
    def on_epoch(self, claim: Claim, result: EpochResult) -> None: ...
    def on_end(self, claim: Claim, end: TrialEnd) -> None: ...
    def on_reaped(self, reaped: Reaped) -> None: ...
    def on_paused_ended(self, ended: Ended) -> None: ...
    def on_idle(self, reason: str) -> None: ...


@dataclass(frozen=True)
class WorkerReport:
    """What a worker did, and why it left."""

    worker: str
    trials: int
    reason: str
    finished: bool


class Worker:
    """Runs trials of one study in this process. One per process: torch's threads are global.

    `after_trial` is called after each that finished; it must not raise, and holds the next one up.
    `before_draw` is called when no trial is waiting, and says whether it enqueued some.
    """

    def __init__(
        self,
        store: Store,
        handle: StudyHandle,
        open_bench: Callable[[], Workbench],
        *,
        stop: StopRequest,
        options: WorkerOptions | None = None,
        observer: Observer | None = None,
        spool: Path | None = None,
        after_trial: Callable[[], None] = lambda: None,
        before_draw: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._handle = handle
        self._open_bench = open_bench
        self._stop = stop
        self._options = options or WorkerOptions()
        self._observer = observer or SilentObserver()
        self._after_trial = after_trial
        self._before_draw = before_draw
        self._spool = Spool(spool or spool_folder(store, handle))
        self._files = study_files(handle)
        self._bench: Workbench | None = None
        self._trials = Trials(store)
        self._promotion = Promotion(store, handle)
        self._late = False
        self.worker_id = new_worker_id()

    def run(self) -> WorkerReport:
        """Run until the budget is used up, stopping is asked for, or a limit of the options is reached.

        Raises:
            StoreUnavailableError: The store did not answer for too long. Results are in the spool.
        """
        trials, study = self._trials, self._handle
        spec = study.spec.search
        history = SamplerHistory(self._store, study, most=spec.history, compared=spec.compares)
        space = Space.of_study(study.spec).suited(study.task)
        warm = Warm.of_study(self._store, study, space)
        seed = worker_seed(spec.seed, history.numbered(), self._options.index)
        sampler = make_sampler(spec, seed, warm.recipes)
        proposals = Proposals(
            history, sampler, space, spec, lambda: self._opened().cost(), SpentNews(history)
        )
        beginning = Beginning(
            trials, study, history, self._promotion, proposals,
            lambda fits: claim_proposal(warm, trials, history, self.worker_id, fits),
        )  # fmt: skip
        ran, late = set[int](), 0  # one that paused and went on is one trial
        idle_since: float | None = None
        deliver = partial(self._spool.deliver, trials, study)
        with (
            at_work(self.worker_id),
            Heartbeat(
                trials,
                study,
                interval=self._options.beat,
                grace=self._options.grace,
                on_reaped=self._observer.on_reaped,
                before_reap=deliver,
            ) as heartbeat,
        ):
            deliver()
            while True:
                if (reason := self._stop.reason) is not None:
                    # With its time up before it has an answer, a study still gets one.
                    self._late = self._stop.asked is None and late < MOST_LATE and self._lacks_an_answer()
                    late += self._late
                    if not self._late:
                        return WorkerReport(self.worker_id, len(ran), reason, finished=False)
                if self._options.max_trials is not None and len(ran) >= self._options.max_trials:
                    return WorkerReport(
                        self.worker_id, len(ran), "its number of trials is reached", finished=False
                    )
                self._check_disk()
                try:
                    claim = self._next(beginning)
                except Aborted:  # nothing is known of what there is to do
                    continue
                if claim is None and beginning.too_late:
                    return WorkerReport(self.worker_id, len(ran), TOO_LATE, finished=False)
                if claim is None:
                    heartbeat.reap()
                    if trials.counts(study).open_roots == 0:
                        # Another worker may have paused one after this one had looked.
                        if self._promotion.waits(self._seconds_left()):
                            continue
                        finished = not self._promotion.waits()  # else it lacks the time alone
                        if finished and (more := raised_budget(trials, study, self._store.again(study))):
                            return WorkerReport(self.worker_id, len(ran), more, finished=False)
                        if finished:
                            self._observer.on_paused_ended(self._promotion.end())
                        why = why_finished(trials, study, nothing_new=beginning.exhausted)
                        return WorkerReport(self.worker_id, len(ran), why, finished)
                    if newer := trials.need_newer(study):
                        return WorkerReport(self.worker_id, len(ran), _left_to_newer(newer), finished=False)
                    now = time.monotonic()
                    idle_since = idle_since or now
                    if self._options.idle_exit is not None and now - idle_since >= self._options.idle_exit:
                        return WorkerReport(
                            self.worker_id, len(ran), "there was nothing to do", finished=False
                        )
                    self._observer.on_idle("other workers are still running trials")
                    self._stop.event.wait(self._options.poll)
                    continue
                idle_since = None
                heartbeat.holds(claim)
                try:
                    if self._run_one(claim, history, heartbeat):
                        ran.add(claim.trial_id)
                    if self._bench is not None and self._bench.crew is not None and self._bench.crew.lost:
                        said = "another device's process is gone"
                        return WorkerReport(self.worker_id, len(ran), said, finished=False)
                except TrialLostError as error:
                    log.warning("trial %d: %s", claim.number, error)
                    stop = StopReason(kind=StopKind.STORE, detail=str(error))
                    self._observer.on_end(claim, TrialEnd(TrialState.FAIL, stop))
                finally:
                    heartbeat.holds(None)

    def _run_one(self, claim: Claim, history: SamplerHistory, heartbeat: Heartbeat) -> bool:
        """Run a claimed trial and hand its end in; whether it counts as done. Any way out ends the claim."""
        ready = False
        try:
            self._observer.on_claim(claim)
            with abortable(self._is_asked):
                objective = self._objective(history, heartbeat)
            ready = True
            end = objective(claim)
            self._hand_in(claim, end)
        except TrialLostError:
            raise
        except Aborted:  # before its objective was there
            end = TrialEnd(TrialState.WAITING, self._asked_to_stop())
            self._hand_in(claim, end)
        except BaseException as error:
            self._give_back(claim, error, ready=ready)
            raise
        if end.state in (TrialState.COMPLETE, TrialState.PRUNED):  # after a failure another attempt may go on
            objective.checkpoints.forget(claim)
        self._observer.on_end(claim, end)
        if end.state.finished or end.paused is not None:
            self._after_trial()
        return end.state is not TrialState.WAITING or end.paused is not None

    def _give_back(self, claim: Claim, error: BaseException, *, ready: bool) -> None:
        """End a claim on the way out, unless its end is in the spool. Never raises.

        It waits for a worker again; but where training met an error that nobody foresaw, this attempt counts.
        """
        if self._spool.holds(claim):
            return
        # Whoever interrupts waits for this; a lease that stays is found to be dead, or runs out.
        trials = Trials(self._store.with_patience(GIVE_BACK_SECONDS))
        unforeseen = isinstance(error, Exception) and not isinstance(error, AutomlTransferError)
        try:
            if ready and unforeseen:
                trials.fail(claim, classify(error), retry=True)
                return
            how = "was interrupted" if ready else "could not begin"
            said = type(error).__name__ + (f": {error}" if str(error) else "")
            stop = StopReason(kind=StopKind.RELEASED, detail=f"its worker {how}: {said}"[:1800])
            trials.release(claim, stop)
        except Exception as trouble:
            log.warning("trial %d was not given back: %s", claim.number, trouble)

    def _next(self, beginning: Beginning) -> Claim | None:
        """A waiting trial, a paused one that is among the best, or a new one while the budget lasts.

        Raises:
            Aborted: Stopping was asked for, or the time is up, before it was known what there is to do.
        """
        trials, study = self._trials, self._handle
        claim = trials.claim(study, self.worker_id)
        while claim is None:
            with abortable(self._is_asked):
                if not self._before_draw():
                    break
            # Where another worker was quicker, more may come: nothing is drawn before the last first answer.
            claim = trials.claim(study, self.worker_id)
            if self._late or self._seconds_left() <= 0.0:
                break
        left = self._seconds_left()
        claim = claim or self._promotion.next(self.worker_id, left)
        if claim is not None:
            return claim
        with abortable(self._is_asked):
            return beginning.next(self.worker_id, left, late=self._late)

    def _objective(self, history: SamplerHistory, heartbeat: Heartbeat) -> Objective:
        bench, trials = self._opened(), self._trials

        def should_stop(*, during_epoch: bool = False, answer_due: bool = False) -> str | None:
            if heartbeat.lost:
                raise TrialLostError("the trial belongs to another worker now")
            # An epoch that is nearly done may end: then nothing of it is trained twice.
            if during_epoch and self._stop.seconds_asked < self._options.finish_epoch:
                return None
            return self._stop.asked if answer_due else self._stop.reason

        return Objective(
            bench,
            trials,
            history,
            make_pruner(self._handle.spec.search),
            self._promotion,
            Checkpoints(self._handle, trials),
            should_stop,
            self._observer.on_epoch,
            self._options.checkpoint,
        )

    def _opened(self) -> Workbench:
        # Data and networks are loaded only now: a worker that finds nothing to do never imports torch.
        if self._bench is None:
            if mistakes := unknown_methods(self._handle.spec.space):  # each of its trials would fail for good
                raise ConfigurationError(mistakes, where=f"study {self._handle.name}")
            self._bench = self._open_bench()
        return self._bench

    def _seconds_left(self) -> float:
        return math.inf if self._late else self._stop.seconds_left

    def _is_asked(self) -> bool:
        return (self._stop.asked if self._late else self._stop.reason) is not None

    def _lacks_an_answer(self) -> bool:
        counts = self._trials.counts(self._handle)
        return counts.complete == 0 and counts.running == 0

    def _asked_to_stop(self) -> StopReason:
        return StopReason(kind=StopKind.RELEASED, detail=self._stop.reason or "asked to stop")

    def _hand_in(self, claim: Claim, end: TrialEnd) -> None:
        trials = self._trials
        if end.paused is not None and end.outcome is not None:
            ended = self._promotion.pause(claim, end.paused, end.stop, end.outcome)
            self._observer.on_paused_ended(ended)
            return
        if end.state is TrialState.WAITING:
            trials.release(claim, end.stop)
            return
        spooled = SpooledEnd(
            claim=claim,
            state=end.state,
            value=end.value,
            stop=end.stop,
            outcome=end.outcome,
            artifacts=end.artifacts,
        )
        path = self._spool.put(spooled)
        try:
            spooled.tell(self._trials)
        except TrialLostError:
            path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)

    def _check_disk(self) -> None:
        folder, least = self._files.local_folder, self._options.min_free_bytes
        if folder is not None and (free := free_bytes(folder)) < least:
            raise OutputError(
                f"the disk of {self._handle.artifact_url!r} must have {least:,} bytes free before a trial "
                f"starts, got {free:,}: free some space and start the worker again; nothing is lost"
            )


def _left_to_newer(trials: Sequence[int]) -> str:
    shown = ", ".join(map(str, trials[:12])) + (", ..." if len(trials) > 12 else "")
    return f"what is left needs a newer automl-transfer: {'trials' if len(trials) > 1 else 'trial'} {shown}"
