"""One trial from its claim to its end: the only place that reports values and asks to prune."""

from __future__ import annotations

import dataclasses
import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from optuna.artifacts import ArtifactMeta
from optuna.pruners import BasePruner, NopPruner

from automl_transfer.aborting import Aborted, abortable, check_abort
from automl_transfer.domain.attack import attack_of
from automl_transfer.domain.records import (
    EpochResult,
    StopKind,
    StopReason,
    TrialOutcome,
    TrialState,
    classify,
)
from automl_transfer.domain.spec import StudySpec
from automl_transfer.errors import StoreUnavailableError, TrialDataError, TrialLostError
from automl_transfer.search import following
from automl_transfer.search.checkpoints import Checkpoints
from automl_transfer.search.first import RUN_TO_THE_END
from automl_transfer.search.promoting import Promotion
from automl_transfer.search.shown import TrialPictures
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.sampling import SamplerHistory
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import Claim, Mark

if TYPE_CHECKING:
    from automl_transfer.training.crew import Crew
    from automl_transfer.training.run import TrainingRun
    from automl_transfer.transfer.plan import TransferPlan

log = logging.getLogger(__name__)

FETCH_PAUSES = (0.5, 2.0, 5.0)
"""Seconds between tries to read a checkpoint."""
KEPT_MODELS = 5
"""Trained weights are kept for trials that are among this many best when they finish."""


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        state: COMPLETE or PRUNED; FAIL with a reason; WAITING where it was released for another worker, or
            is `paused` at a rung.
        value: The task's metric: of the best epoch when complete, of the last one when pruned.
        artifacts: Pictures that are in the artifact store, to be named with the end.
    """

    state: TrialState
    stop: StopReason
    value: float | None = None
    outcome: TrialOutcome | None = None
    artifacts: tuple[ArtifactMeta, ...] = ()
    paused: Mark | None = None


class ShouldStop(Protocol):
    """Why to stop, or None to go on; may raise TrialLostError."""

    def __call__(self, *, during_epoch: bool = False, answer_due: bool = False) -> str | None:
        """Within an epoch the answer may come later than between epochs.

        Where an answer is due, because the study has none yet, the end of the time is no reason.
        """


@dataclass
class Objective:
    """Trains the strategy of a claimed trial and keeps the store informed.

    Attributes:
        should_stop: Asked after every epoch, and before every step and every batch of a pass over images.
        checkpoint_seconds: Training time that a crash may cost at most, besides one epoch.
    """

    bench: Workbench
    trials: Trials
    history: SamplerHistory
    pruner: BasePruner
    promotion: Promotion
    checkpoints: Checkpoints
    should_stop: ShouldStop
    on_epoch: Callable[[Claim, EpochResult], None]
    checkpoint_seconds: float = 30.0
    _started: float = field(default=0.0, init=False)
    _earlier: float = field(default=0.0, init=False)
    _answer_due: bool = field(default=False, init=False)
    _plan: TransferPlan | None = field(default=None, init=False)
    _crew: Crew | None = field(default=None, init=False)
    _curve: list[EpochResult] = field(default_factory=list, init=False)

    def __call__(self, claim: Claim) -> TrialEnd:
        """Run the trial.

        Raises:
            TrialLostError: Another attempt owns this trial now; nothing more was written.
            StoreUnavailableError: The store did not answer for too long.
        """
        self._started = time.monotonic()
        self._earlier = math.fsum(epoch.seconds for epoch in claim.epochs)
        self._plan, self._curve = None, list(claim.epochs)
        self._crew = following.crew_of(self.bench, claim.strategy)
        # A study without an answer gets one: a solved head, or the epoch under way, whatever the time.
        self._answer_due = self._is_answer_due()
        try:
            with abortable(
                lambda: self.should_stop(during_epoch=True, answer_due=self._answer_due) is not None
            ):
                end = self._run(claim)
        except (TrialLostError, StoreUnavailableError):
            raise
        except Aborted:  # before the first epoch
            end = self._released()
        except Exception as error:
            end = TrialEnd(TrialState.FAIL, classify(error))
        finally:
            following.end(self._crew)
        if not end.state.finished:
            return end
        pictures = TrialPictures(self.bench.handle).store(claim.root, self._plan, self._curve, end.stop)
        return dataclasses.replace(end, artifacts=pictures)

    def _run(self, claim: Claim) -> TrialEnd:
        from automl_transfer.training.making import make_run

        spec = self.bench.handle.spec
        following.begin(self._crew, claim.strategy)
        run = make_run(
            claim.strategy,
            self.bench.task,
            self.bench.backbone(claim.strategy.source),
            horizon=self.bench.horizon,
            seed=spec.search.seed,
            device=self.bench.device,
            cache=self.bench.activations,
            known=self.bench.banks,
            crew=self._crew,
            precision=spec.search.precision,
        )
        self._plan = run.plan
        identical = self._resume(claim, run)
        saved_at = time.monotonic()
        last: EpochResult | None = claim.epochs[-1] if claim.epochs else None
        epochs = run.epochs()
        while True:
            # Before an epoch, not after one: a trial that comes back may stand at its rung already.
            if (mark := self._stays_at(claim, run)) is not None:
                return self._paused(claim, run, mark, identical)
            try:
                result = next(epochs, None)
            except Aborted:
                if run.epoch > 0:
                    self.checkpoints.save(claim, run)
                return self._released()
            if result is None:
                break
            last = result
            self.trials.record_epoch(claim, result, result.score(spec.task.metric))
            self._curve = [*(epoch for epoch in self._curve if epoch.epoch < result.epoch), result]
            self.on_epoch(claim, result)
            if run.finished:
                break
            if self._is_stopped(claim):
                return TrialEnd(
                    TrialState.PRUNED,
                    StopReason(
                        kind=StopKind.PRUNED, detail=f"by {spec.search.pruner} after epoch {result.epoch}"
                    ),
                    result.score(spec.task.metric),
                    self._outcome(run, identical),
                )
            self._answer_due = self._answer_due and self._is_answer_due()
            if (reason := self.should_stop()) is not None:
                if self._answer_due and self.should_stop(answer_due=True) is None:
                    told = f"{reason} after epoch {result.epoch} of {run.max_epochs}"
                    return self._complete(claim, run, identical, f"{told}, and nothing else is complete")
                self.checkpoints.save(claim, run)
                return self._released()
            if time.monotonic() - saved_at >= self.checkpoint_seconds:
                self.checkpoints.save(claim, run)
                saved_at = time.monotonic()
        if last is None:
            raise RuntimeError("training ended without a single epoch")
        return self._complete(claim, run, identical)

    def _is_stopped(self, claim: Claim) -> bool:
        # One that never stops a trial need not be shown the study after every epoch.
        if isinstance(self.pruner, NopPruner):
            return False
        # What runs to its end is shown, too: halving notes what others are compared with when it is asked.
        stops = self.history.should_prune(self.pruner, claim.trial_id)
        return stops and not self._runs_through(claim)

    def _runs_through(self, claim: Claim) -> bool:
        return claim.label in RUN_TO_THE_END

    def _stays_at(self, claim: Claim, run: TrainingRun) -> Mark | None:
        """What the trial has at the rung where it is to wait; None where it trains on."""
        if run.best is None or run.finished:
            return None
        seconds = math.fsum(epoch.seconds for epoch in self._curve)
        mark = self.promotion.at_rung(claim, run.epoch, run.best, seconds)
        if mark is None or self.promotion.goes_on(claim, mark, always=self._runs_through(claim)):
            return None
        return mark

    def _paused(self, claim: Claim, run: TrainingRun, mark: Mark, identical: bool) -> TrialEnd:
        self.checkpoints.save(claim, run)
        stop = StopReason(kind=StopKind.PAUSED, detail=f"after epoch {run.epoch} of {run.max_epochs}")
        outcome = self._outcome(run, identical)
        return TrialEnd(TrialState.WAITING, stop, mark.value, outcome, paused=mark)

    def _is_answer_due(self) -> bool:
        if any(trial.state.name == "COMPLETE" for trial in self.history.known()):
            return False  # it was there already at the last look
        return not self._completed(default=[0.0])

    def _complete(self, claim: Claim, run: TrainingRun, identical: bool, detail: str = "") -> TrialEnd:
        run.load_best()
        assert run.best is not None
        value = run.best.score(self.bench.handle.spec.task.metric)
        if self._among_best(value):
            self.checkpoints.save_model(claim, run)
        return TrialEnd(
            TrialState.COMPLETE,
            StopReason(kind=StopKind.COMPLETED, detail=detail),
            value,
            self._outcome(run, identical, measure=True),
        )

    def _released(self) -> TrialEnd:
        reason = self.should_stop() or "asked to stop"
        return TrialEnd(TrialState.WAITING, StopReason(kind=StopKind.RELEASED, detail=reason))

    def _resume(self, claim: Claim, run: TrainingRun) -> bool:
        """Continue from the last checkpoint; start over, and have it counted, where there is none left.

        A checkpoint that cannot be read now, because its disk or network is in trouble, says nothing about
        its trial: it stays, and so does its row; after some tries the trial fails as one of its data's.
        """
        if claim.checkpoint is None:
            if claim.epochs:
                self.trials.restart(claim)
            following.go_on(self._crew, None)
            return True
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            state: Path | None = Path(folder) / "state"
            try:
                self._fetch(claim, Path(folder) / "state")
                identical = run.restore(Path(folder) / "state").identical
            except TrialDataError as error:
                log.warning("trial %d starts over: %s", claim.number, error)
                self.trials.restart(claim)
                self.checkpoints.forgotten()
                state, identical = None, True
            following.go_on(self._crew, state)
        return identical

    def _fetch(self, claim: Claim, folder: Path) -> None:
        for pause in (*FETCH_PAUSES, None):
            try:
                self.checkpoints.fetch(claim, folder)
                return
            except OSError as error:
                if pause is None:
                    raise
                log.warning("the checkpoint of trial %d cannot be read: %s", claim.number, error)
            until = time.monotonic() + pause
            while time.monotonic() < until:
                check_abort()
                time.sleep(0.1)

    def _among_best(self, value: float) -> bool:
        values = self._completed(default=[])
        return len(values) < KEPT_MODELS or value >= values[KEPT_MODELS - 1]

    def _completed(self, default: list[float]) -> list[float]:
        """Values of complete trials, the highest first; the default while the store is away."""
        try:
            trials = self.history.trials(patient=False)
        except StoreUnavailableError:
            return default  # a finished trial must reach its spool
        found = (t.value for t in trials if t.state.name == "COMPLETE" and t.value is not None)
        return sorted(found, reverse=True)

    def _outcome(self, run: TrainingRun, identical: bool, *, measure: bool = False) -> TrialOutcome:
        return TrialOutcome(
            parameters=run.plan.parameters,
            trained_parameters=run.plan.trained_parameters,
            predict_ms_per_image=_latency(run) if measure else 0.0,
            train_seconds=self._earlier + time.monotonic() - self._started,
            best_epoch=run.best.epoch if run.best is not None else None,
            identical=identical,
            weights_sha256=run.weights_sha256() if measure else None,
            robust_accuracy=_robust(run, self.bench.handle.spec) if measure else None,
            conditions=run.conditions(),
        )


def _latency(run: TrainingRun) -> float:
    from automl_transfer.training.evaluate import measure_latency

    return measure_latency(run.model, run.task.images, run.plan.normaliser(run.device), run.device)


def _robust(run: TrainingRun, spec: StudySpec) -> float | None:
    """The accuracy under the study's attack, where it has one."""
    from automl_transfer.training.robustness import withstands

    if spec.attack is None:
        return None
    if spec.attack == attack_of(spec.task.metric):  # then it is what the best epoch has
        assert run.best is not None
        return run.best.score(spec.task.metric)
    task, rows = run.task, run.task.indices["validation"]
    with abortable():  # the trial is complete
        found = withstands(
            run.model, task.images, rows, task.labels[rows], run.plan.normaliser(run.device), spec.attack
        )
    return float(found.mean())
