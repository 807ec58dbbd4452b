"""One training run: yields an `EpochResult` an epoch, stops and continues at any of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.records import EpochResult, best_of
from automl_transfer.domain.spec import Precision
from automl_transfer.errors import OutOfMemoryError, TrialDataError
from automl_transfer.training.activation_cache import ActivationCache, MemoryCache
from automl_transfer.training.batches import split_batches
from automl_transfer.training.conditions import current_conditions, differences, reproducible
from automl_transfer.training.crew import ALONE, OVER, Crew, Over, agreed
from automl_transfer.training.evaluate import Scores
from automl_transfer.training.inputs import Inputs, PixelInputs, inputs_for
from automl_transfer.training.judgement import judged, result_of
from automl_transfer.training.precision import check_precision
from automl_transfer.training.seen import Seen
from automl_transfer.training.state import (
    Resumed,
    clone,
    copy_optimizer,
    ever_live,
    load_optimizer,
    pack_optimizer,
    pack_terms,
    put,
    read_checkpoint,
    sha256_of,
    showing,
    shows_below,
    take_over,
    under,
    unpack_terms,
    write_checkpoint,
)
from automl_transfer.training.stepping import stepper_for
from automl_transfer.transfer.drawn import Drawn
from automl_transfer.transfer.features import batch_for, give_back_memory, is_out_of_memory
from automl_transfer.transfer.freeze import live_tensors
from automl_transfer.transfer.norms import batch_norms
from automl_transfer.transfer.phases import phase_at, phases_of, schedule_of
from automl_transfer.transfer.plan import TransferPlan

NORM_BATCH = 32
"""Images that batch norm sees at once, at least, where its statistics train: steps are not split below it."""

State = tuple[dict[str, Tensor], dict[str, Any], dict[str, Tensor], dict[str, Any]]


class TrainingRun:
    """Trains a plan on the training split and judges every epoch on the validation split.

    The same plan, task, seed and conditions (threads, realised batch, ...) give the same weights, bit
    for bit on CPU, whether or not the run was interrupted.

    Args:
        plan: Its model is trained in place.
        max_epochs: The study's horizon, which schedules are laid out over.
        passes: Over the training images, an epoch.
        steps: An epoch, instead of whole passes.
        batch: Images that go through the model at once; by default as many of the strategy's batch as
            suit the device.
        accumulate: Such batches that make one step; with `batch` unset, the strategy's batch is kept.
        cache: Where activations of the frozen prefix are kept; by default in this process's memory.
        crew: The devices that train this model together; None: one.
        precision: Of forward and backward passes of what trains.

    Attributes:
        epoch: Last finished epoch. Before the first, 0 (-1 for a closed-form plan, whose only epoch is 0).
        best: The best epoch so far by the task's metric, ties by calibrated loss (`records.best_of`).
        withstood: (n,) validation images right under the metric's attack at the last judgement; or None.
    """

    def __init__(
        self,
        plan: TransferPlan,
        task: LoadedTask,
        *,
        max_epochs: int,
        seed: int,
        device: torch.device,
        passes: int = 1,
        steps: int | None = None,
        batch: int | None = None,
        accumulate: int = 1,
        cache: ActivationCache | None = None,
        crew: Crew | None = None,
        precision: Precision = "fp32",
    ) -> None:
        check_precision(precision, device)
        self.plan = plan
        self.task = task
        self.max_epochs = max_epochs
        self.seed = seed
        self.device = device
        self._seen = Seen(plan.seen(task), task.indices["train"], seed, max_epochs, passes, steps)
        self._cache = cache or MemoryCache()
        self._crew, self._precision = crew or ALONE, precision
        self.model = plan.model.to(device)
        self.closed_form = plan.strategy.tune_mode == CLOSED_FORM
        self.epoch = -1 if self.closed_form else 0
        self.best: EpochResult | None = None
        self.withstood: np.ndarray | None = None
        self._at_once = batch if batch is not None else -(-plan.strategy.batch // accumulate)
        self._wanted = batch * accumulate if batch is not None else plan.strategy.batch
        self._batch_was_given = batch is not None
        self._differences: tuple[str, ...] = ()
        self._best_tensors: dict[str, Tensor] = {}
        self._phases = phases_of(plan.strategy, plan.selection, max_epochs)
        self._moves = ever_live(plan, self._phases)
        self._enter(0)

    def _enter(self, number: int) -> None:
        """Begin a phase: what trains, its optimiser, its inputs. Weights stay as they are."""
        phase = self._phases[number]
        self._schedule = schedule_of(self._phases, number)
        self.plan.enter(phase)
        self._live = live_tensors(self.model)
        self._stepper = (
            None
            if self.closed_form
            else stepper_for(self.plan, self.task, self.device, self._crew, self._precision)
        )
        self._inputs_made: Inputs | None = None
        self._batch_is_settled = self._batch_was_given
        self.model.train()
        norms_follow = any(layer.training for layer in batch_norms([self.model]))
        # A batch of one has no variance for batch norm to use, and one of a few images a wrong one.
        self._smallest = 2 if norms_follow else 1
        self._effective = max(self._wanted, self._smallest)
        self._least_part = min(NORM_BATCH, self._effective) if norms_follow else 1
        self._use_batch(self._at_once)
        self._phase = number  # not before: one that was interrupted is entered anew

    def _enter_phase_of(self, epoch: int) -> None:
        """Enter the phase that an epoch (from 1) belongs to, if it is another one."""
        number = phase_at(self._phases, epoch)
        if number != self._phase:
            self._enter(number)

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return self.epoch >= (0 if self.closed_form else self.max_epochs)

    def epochs(self) -> Iterator[EpochResult]:
        """Train on after `self.epoch`, one result an epoch, up to `max_epochs`.

        A closed-form plan gives one result, epoch 0. The caller may stop at any epoch.

        Raises:
            NotANumberError: The loss became NaN or infinite.
            OutOfMemoryError: No batch was small enough.
            Aborted: That was asked for (`aborting`).
            TrialDataError: Images could not be read.

        Whatever is raised, also an interrupt: the run stands after its last finished epoch, and can go on.
        """
        while not self.finished:
            yield self._next_epoch()

    def follow(self) -> None:
        """Train along with the first member of the crew, which judges, until it ends the trial.

        Raises:
            NotANumberError, OutOfMemoryError, Aborted, TrialDataError: On all members at once.
        """
        while not self.finished:
            epoch = self._crew.hand_out(OVER)
            if epoch == OVER:
                raise Over
            self._enter_phase_of(epoch)
            self._train_until_it_fits(epoch, self._state())
            self.epoch = epoch

    def train_to(self, epoch: int) -> None:
        """Train on to this epoch without judging any: the weights that `epochs` has there, and no `best`.

        Raises:
            NotANumberError, OutOfMemoryError, Aborted, TrialDataError: As `epochs` does.
        """
        while self.epoch < epoch:
            if not self.closed_form:
                self._enter_phase_of(self.epoch + 1)
                self._train_until_it_fits(self.epoch + 1, self._state())
            self.epoch += 1

    def judge(self) -> tuple[np.ndarray, Scores]:
        """(n, classes) float32 logits of the n validation images, and the scores of the model as it is.

        Raises:
            NotANumberError: The loss is NaN or infinite.
        """
        return self._judge(self.epoch)

    def load_best(self) -> None:
        """Put the weights of the best epoch into the model, to ship it (not to train on)."""
        put(self._best_tensors, self._moves)
        self.model.eval()

    def load_shown(self) -> None:
        """Put the weights that were judged last into the model, to ship it (not to train on)."""
        with showing(self.plan.terms, self._moves):
            shown = clone(self._moves)
        put(shown, self._moves)
        self.model.eval()

    def weights_sha256(self) -> str:
        """Hash over all weights and buffers as they are now."""
        return sha256_of(self.model)

    def save(self, folder: Path) -> None:
        """Write a checkpoint whole: `state.safetensors` and `state.json` in `folder`, replacing it."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best_tensors.items()}
        packed, plain = pack_optimizer(self._stepper.optimizer if self._stepper else None)
        tensors |= {f"terms.{name}": tensor for name, tensor in pack_terms(self.plan.terms).items()} | packed
        document = {
            "identity": self._identity(),
            "epoch": self.epoch,
            "best": None if self.best is None else self.best.model_dump(mode="json"),
            "optimizer": plain,
            "scale": self._stepper.scaling.state() if self._stepper else {},
            "conditions": self.conditions(),
            "differences": list(self._differences),
        }
        write_checkpoint(folder, tensors, document)

    def restore(self, folder: Path) -> Resumed:
        """Continue from a checkpoint of the same strategy, task, seed and horizon.

        Where this run was not given a batch, it takes over the realised one.

        Raises:
            TrialDataError: The checkpoint is missing, damaged or of another trial; the run is as before.
        """
        tensors, kept = read_checkpoint(folder, self._identity())
        if kept.epoch > self.max_epochs:
            raise TrialDataError(
                f"a checkpoint must be of one of the {self.max_epochs} epochs, got {kept.epoch} in {folder}: "
                "start the trial over"
            )
        self._enter_phase_of(max(1, kept.epoch))
        try:
            optimizer = self._stepper.optimizer if self._stepper else None
            take_over(tensors, kept, self.model, self.plan.terms, optimizer)
        except (KeyError, ValueError, RuntimeError) as error:
            raise TrialDataError(
                f"a checkpoint must fit the trial's model, got {folder} ({error}): start the trial over"
            ) from error
        if self._stepper is not None:
            self._stepper.scaling.load(kept.scale)
        if not self._batch_was_given:
            self.batch, self.accumulate = kept.conditions.batch, kept.conditions.accumulate
            self._batch_is_settled = True
        self._inputs_made = None  # of the weights before
        self.epoch, self.best, self._best_tensors = kept.epoch, kept.best, under(tensors, "best.")
        found = (*kept.differences, *differences(kept.conditions.model_dump(), self.conditions()))
        self._differences = tuple(dict.fromkeys(found))
        return Resumed(self.epoch, not self._differences, self._differences)

    def _next_epoch(self) -> EpochResult:
        start, epoch = time.perf_counter(), self.epoch + 1
        if self.closed_form:
            return self._end_epoch(epoch, None, 0.0, start)
        self._crew.hand_out(epoch)  # who follows waits for that, see `follow`
        self._enter_phase_of(epoch)
        before = self._state()
        train_loss, rate = self._train_until_it_fits(epoch, before)
        try:
            return self._end_epoch(epoch, train_loss, rate, start)
        except BaseException:  # the weights have moved on
            self._go_back(before)
            raise

    def _end_epoch(self, epoch: int, train_loss: float | None, rate: float, start: float) -> EpochResult:
        logits, found = self._judge(epoch)
        result = result_of(epoch, logits, found, self.task, train_loss, rate, time.perf_counter() - start)
        best, tensors = self.best, self._best_tensors
        if best is None or best_of((best, result), self.task.task.metric) is result:
            with showing(self.plan.terms, self._moves):
                best, tensors = result, clone(self._moves)
        self.epoch, self.best, self._best_tensors = epoch, best, tensors
        return result

    def _judge(self, epoch: int) -> tuple[np.ndarray, Scores]:
        inputs, normalise = self._inputs(), self.plan.normaliser(self.device)
        if shows_below(self.plan.terms, self._moves, inputs.start):
            inputs = PixelInputs(self._seen.images, normalise, self.model, 0)
        self.model.eval()
        with showing(self.plan.terms, self._moves):
            logits, self.withstood, found = judged(
                self.model, lambda stored: self._logits(inputs, stored), inputs, self.task, normalise, epoch
            )
        return logits, found

    def _state(self) -> State:
        """What an epoch changes: weights, buffers, the optimiser's state, terms' own, the loss's scale."""
        assert self._stepper is not None
        optimizer, scale = copy_optimizer(self._stepper.optimizer), self._stepper.scaling.state()
        return clone(self._live), optimizer, clone(pack_terms(self.plan.terms)), scale

    def _train_until_it_fits(self, epoch: int, before: State) -> tuple[float, float]:
        """Train one epoch; out of memory halves the batch and begins the epoch again, from `before`.

        Whatever else ends it, the run is back there.
        """
        while True:
            try:
                with reproducible(self.seed, epoch, self.device, self._crew.rank):
                    return self._train_epoch(epoch)
            except BaseException as error:
                if not is_out_of_memory(error):
                    self._go_back(before)
                    raise
                reason = f"{type(error).__name__}: {error}"
            # Outside of the handler, where the failed step's tensors are gone.
            self._go_back(before)
            if self.batch <= self._least_part:
                raise OutOfMemoryError(
                    f"training must fit in memory at a batch of {self.batch}, it did not in epoch {epoch} "
                    f"({reason[:300]}): choose a smaller source, a lower resolution or fewer trained groups"
                )
            self._use_batch(-(-self.batch // 2))
            give_back_memory(self.device)

    def _use_batch(self, batch: int) -> None:
        """Split a step into parts of this many images."""
        self.batch = max(self._least_part, batch)
        self.accumulate = -(-self._effective // self.batch)

    def _go_back(self, before: State) -> None:
        live, optimizer, terms, scale = before
        assert self._stepper is not None
        put(live, self._live)
        unpack_terms(self.plan.terms, clone(terms))
        load_optimizer(self._stepper.optimizer, optimizer)
        self._stepper.optimizer.zero_grad(set_to_none=True)
        self._stepper.scaling.load(scale)

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        assert self._stepper is not None
        seen, size = self._seen.in_epoch(epoch, self._effective), self._effective
        batches = [each for part in seen for each in split_batches(part, size, self._smallest)]
        inputs = agreed(self._crew, self._inputs)
        return self._stepper.train(
            inputs, batches, at_once=self.batch, least=self._least_part, epoch=epoch, schedule=self._schedule
        )

    def _inputs(self) -> Inputs:
        if self._inputs_made is None:
            normalise, prefix = self.plan.normaliser(self.device), self.plan.frozen_prefix
            if isinstance(self._seen.images, Drawn) or self.plan.on_pixels:
                self._inputs_made = PixelInputs(self._seen.images, normalise, self.model, prefix)
            else:
                rows, passes = self.task.indices["validation"], 1.0
                if not self.closed_form:
                    rows, passes = self._seen.asked_for(rows, self._effective)
                self._inputs_made = inputs_for(
                    self.model,
                    self.task,
                    normalise,
                    prefix,
                    rows,
                    cache=self._cache, passes=passes, augment=self.plan.augment,
                )  # fmt: skip
            if not self._batch_is_settled:
                self._use_batch(min(self.batch, batch_for(self._inputs_made.elements, self.device)))
        return self._inputs_made

    def _logits(self, inputs: Inputs, stored: Tensor) -> Tensor:
        x, below = inputs.prepare(stored)
        return self.model(x, inputs.start, below)  # type: ignore[no-any-return]

    def _identity(self) -> dict[str, Any]:
        return {
            "strategy": self.plan.strategy.key(),
            "task": self.task.task.fingerprint,
            "seed": self.seed,
            "max_epochs": self.max_epochs,
            **self._seen.facts(),
        }

    def conditions(self) -> dict[str, Any]:
        """What the run's rounding depends on: threads, realised batch, device and more."""
        return current_conditions(
            self.device, batch=self.batch, accumulate=self.accumulate, inputs=self._inputs(),
            devices=self._crew.size, sharded=self._stepper is not None and self._stepper.sharded,
            precision=self._precision,
        )  # fmt: skip
