"""One trial from its claim to its end: the only place that reports values and asks to prune."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner

from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialOutcome, TrialState
from automl_transfer.errors import StoreUnavailableError, TrialDataError, TrialLostError
from automl_transfer.search.checkpoints import Checkpoints
from automl_transfer.search.policies import classify
from automl_transfer.search.view import SamplingView
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.retry import retrying
from automl_transfer.store.trials import Claim, Trials

if TYPE_CHECKING:
    from automl_transfer.training.run import TrainingRun

KEPT_MODELS = 5
"""Trained weights are kept for trials that are among this many best when they finish."""


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended.

    Attributes:
        state: COMPLETE or PRUNED; FAIL with a reason; WAITING where it was released for another worker.
        value: The task's metric: of the best epoch when complete, of the last one when pruned.
    """

    state: TrialState
    stop: StopReason
    value: float | None = None
    outcome: TrialOutcome | None = None


@dataclass
class Objective:
    """Trains the strategy of a claimed trial and keeps the store informed.

    Attributes:
        should_stop: Asked after every epoch and every step; returns why to stop, or None.
        checkpoint_seconds: Training time that a crash may cost at most, besides one epoch.
    """

    bench: Workbench
    trials: Trials
    view: SamplingView
    pruner: BasePruner
    checkpoints: Checkpoints
    should_stop: Callable[[], str | None]
    on_epoch: Callable[[Claim, EpochResult], None]
    checkpoint_seconds: float = 30.0

    def __call__(self, claim: Claim) -> TrialEnd:
        """Run the trial.

        Raises:
            TrialLostError: Another attempt owns this trial now; nothing more was written.
            StoreUnavailableError: The store did not answer for too long.
        """
        try:
            return self._run(claim)
        except (TrialLostError, StoreUnavailableError):
            raise
        except Exception as error:
            return TrialEnd(TrialState.FAIL, classify(error))

    def _run(self, claim: Claim) -> TrialEnd:
        from automl_transfer.training.run import TrainingAborted, TrainingRun
        from automl_transfer.transfer.build import build_plan

        spec = self.bench.handle.spec
        backbone = self.bench.backbone(claim.strategy.source)
        plan = build_plan(
            claim.strategy, backbone, self.bench.task, seed=spec.search.seed, device=self.bench.device
        )
        run = TrainingRun(
            plan,
            self.bench.task,
            max_epochs=spec.search.max_epochs,
            seed=spec.search.seed,
            device=self.bench.device,
            should_abort=lambda: self.should_stop() is not None,
        )
        identical = self._resume(claim, run)
        saved_at = time.monotonic()
        last: EpochResult | None = claim.epochs[-1] if claim.epochs else None
        epochs = run.epochs()
        while True:
            try:
                result = next(epochs, None)
            except TrainingAborted:
                # The epoch under way is given up; the trial goes on from its last checkpoint.
                return self._released()
            if result is None:
                break
            last = result
            self.trials.record_epoch(claim, result, result.score(spec.task.metric))
            self.on_epoch(claim, result)
            if run.finished:
                break
            if self._prune(claim):
                return TrialEnd(
                    TrialState.PRUNED,
                    StopReason(kind=StopKind.PRUNED, detail=f"by {spec.search.pruner} after epoch {result.epoch}"),
                    result.score(spec.task.metric),
                    self._outcome(run, claim, identical),
                )
            if self.should_stop() is not None:
                self.checkpoints.save(claim, run)
                return self._released()
            if time.monotonic() - saved_at >= self.checkpoint_seconds:
                self.checkpoints.save(claim, run)
                saved_at = time.monotonic()
        if last is None:
            raise RuntimeError("training ended without a single epoch")
        return self._complete(claim, run, identical)

    def _complete(self, claim: Claim, run: TrainingRun, identical: bool) -> TrialEnd:
        best = run.load_best()
        value = best.score(self.bench.handle.spec.task.metric)
        if self._among_best(value):
            self.checkpoints.save_model(claim, run)
        return TrialEnd(
            TrialState.COMPLETE,
            StopReason(kind=StopKind.COMPLETED),
            value,
            self._outcome(run, claim, identical, measure=True),
        )

    def _released(self) -> TrialEnd:
        reason = self.should_stop() or "asked to stop"
        return TrialEnd(TrialState.WAITING, StopReason(kind=StopKind.RELEASED, detail=reason))

    def _resume(self, claim: Claim, run: TrainingRun) -> bool:
        """Continue from the last checkpoint; start over, and have it counted, where there is none left."""
        if claim.checkpoint is None:
            if claim.epochs:
                self.trials.restart(claim)
            return True
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            try:
                self.checkpoints.fetch(claim.checkpoint, Path(folder))
                resumed = run.restore(Path(folder))
            except (TrialDataError, OSError):
                self.trials.restart(claim)
                return True
        return resumed.identical

    def _prune(self, claim: Claim) -> bool:
        return bool(
            retrying(
                lambda: self.pruner.prune(
                    self.view.study(None, self.pruner), self.view.get_trial(claim.trial_id)
                )
            )
        )

    def _among_best(self, value: float) -> bool:
        values = retrying(
            lambda: sorted(
                (
                    trial.value
                    for trial in self.view.get_all_trials(self.bench.handle.study_id, deepcopy=False)
                    if trial.state.name == "COMPLETE" and trial.value is not None
                ),
                reverse=True,
            )
        )
        return len(values) < KEPT_MODELS or value >= values[KEPT_MODELS - 1]

    def _outcome(
        self, run: TrainingRun, claim: Claim, identical: bool, *, measure: bool = False
    ) -> TrialOutcome:
        return TrialOutcome(
            parameters=run.parameters,
            trained_parameters=run.trained_parameters,
            predict_ms_per_image=run.measure_latency() if measure else 0.0,
            train_seconds=run.seconds,
            best_epoch=run.best_epoch,
            identical=identical,
            weights_sha256=run.weights_sha256() if measure else None,
        )
