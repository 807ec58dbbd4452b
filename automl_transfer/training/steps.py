"""The steps of one epoch: forward, backward, and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from automl_transfer.aborting import Aborted, abort_is_asked
from automl_transfer.data.task import LoadedTask
from automl_transfer.errors import NotANumberError, TrialDataError
from automl_transfer.training.batches import read_ahead
from automl_transfer.training.crew import Crew, words_of
from automl_transfer.training.inputs import Inputs
from automl_transfer.training.loss import Loss, balanced_weights, counted, uncounted
from automl_transfer.training.optimizers import make_optimizer
from automl_transfer.training.schedule import rate_factor
from automl_transfer.transfer.allocator import keep_freed_memory
from automl_transfer.transfer.pixels import as_numbers
from automl_transfer.transfer.plan import TransferPlan

_CHECK_EVERY = {"cpu": 1}
"""Steps between looks at the loss; a look makes other devices wait."""


class Stepper:
    """Moves the weights that train now, one optimiser step per effective batch."""

    def __init__(self, plan: TransferPlan, task: LoadedTask, device: torch.device, crew: Crew) -> None:
        keep_freed_memory()
        strategy = plan.strategy
        self._plan = plan
        self._device = device
        self._crew = crew
        groups = plan.parameter_groups
        self.optimizer = make_optimizer(strategy, groups, device)
        self._rates = [float(group["lr"]) for group in groups]
        self._trained = [p for group in groups for p in group["params"]]
        self._group_of = {p: number for number, group in enumerate(groups) for p in group["params"]}
        self._terms = plan.terms
        self._classes = len(task.task.classes)
        self._labels = torch.from_numpy(np.array(task.labels, dtype=np.int64))
        weights = None
        if strategy.class_weights:
            labels = task.labels[task.indices["train"]]
            counts = None if task.weights is None else task.weights[task.indices["train"]]
            weights = balanced_weights(labels, len(task.task.classes), counts).to(device)
        self._loss = Loss(strategy.label_smoothing, weights, strategy.gce)
        self._counts = None if task.weights is None else torch.from_numpy(task.weights.astype(np.float32))

    def train(
        self,
        inputs: Inputs,
        steps: Sequence[Sequence[np.ndarray]],
        *,
        epoch: int,
        schedule: tuple[int, int],
    ) -> tuple[float, float]:
        """One epoch; mean training loss (nats), and the base learning rate of the last step.

        Args:
            inputs: What the trained part takes.
            steps: The rows of each effective batch, in the parts that go through the model at once.
            epoch: Counted from 1.
            schedule: Epoch that it begins with, and its length in epochs.

        Raises:
            NotANumberError: The loss became NaN or infinite.
            Aborted: That was asked for; asked before every step.
        """
        strategy, model = self._plan.strategy, self._plan.model
        parts = [part for step in steps for part in step]
        # A CPU is busy with the step: reading ahead what lies there gains nothing (`benchmarks/steps.py`).
        at_once = inputs.in_memory or (self._device.type == "cpu" and not inputs.costly)
        reader = map(inputs.read, parts) if at_once else read_ahead(inputs.read, parts)
        total_steps, done = schedule[1] * len(steps), (epoch - schedule[0]) * len(steps)
        losses, sizes = torch.zeros(len(steps), device=self._device), torch.zeros(len(steps))
        every = _CHECK_EVERY.get(self._device.type, 32)
        rate = strategy.learning_rate
        model.train()
        x: torch.Tensor | None = None
        for number, step in enumerate(steps):
            asked = abort_is_asked()
            if asked and self._crew.size == 1:
                raise Aborted
            factor = rate_factor(strategy.schedule, done + number, total_steps, strategy.warmup)
            rate = strategy.learning_rate * factor
            for group, base in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = base * factor
            # Numbers count the images on, view by view.
            rows = [torch.from_numpy(part % len(self._labels)) for part in step]
            labels = [self._labels[part].to(self._device) for part in rows]
            counts = [None if self._counts is None else self._counts[part].to(self._device) for part in rows]
            total = sum(map(self._loss.weight, labels, counts), start=0.0)
            size = _size(labels, counts)
            if self._crew.size > 1:
                # A step's loss is the mean over the images of all members.
                total, size, stop = self._crew.add([float(total), size, float(asked)])
                if stop:
                    raise Aborted
            sizes[number] = size
            trouble: Exception | None = None
            try:
                for part, own in zip(labels, counts, strict=True):
                    x, loss = self._backward(inputs, next(reader), part, own, total, size)
                    losses[number] += loss
            except (RuntimeError, MemoryError, TrialDataError) as error:
                if self._crew.size == 1:
                    raise
                trouble = error
            said = self._crew.sync(self._trained, losses[number], words_of(trouble))
            if trouble is not None:
                raise trouble
            if said:
                raise RuntimeError(f"{said}, on another device")
            if (number + 1) % every == 0 or number + 1 == len(steps):
                _check(losses[: number + 1], epoch, rate, x if inputs.start else None)
            self._step()
        return float((losses.cpu() * sizes).sum() / sizes.sum()), rate

    def _backward(
        self,
        inputs: Inputs,
        stored: torch.Tensor,
        labels: torch.Tensor,
        own: torch.Tensor | None,
        total: torch.Tensor | float,
        size: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add one part's gradient; what the frozen prefix gave, and the part of the step's loss."""
        rest, targets = inputs.prepare(self._changed(stored, labels)), labels
        share = _size([labels], [own]) / size
        if any(term.mixes for term in self._terms):
            targets = counted(targets, self._classes, own)
            for term in self._terms:
                if term.mixes:
                    rest, targets = term.batch(rest, targets)
            targets, own = uncounted(targets, own)
        x, below = rest
        logits = self._plan.model(x, inputs.start, below)
        loss = self._loss(logits, targets, total, own)
        found = loss.detach()
        for term in self._terms:
            term.counts = own
            if (added := term.loss(rest, logits, targets)) is not None:
                loss = loss + share * added
        loss.backward()  # type: ignore[no-untyped-call]
        return x, found

    def _changed(self, stored: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What was read, after the terms that change images."""
        terms = [term for term in self._terms if term.on_pixels]
        if terms:
            stored = as_numbers(stored, self._device)
        for term in terms:
            stored = term.pixels(stored, labels)
        return stored

    def _rate_of(self, parameter: torch.nn.Parameter) -> float:
        number = self._group_of.get(parameter)
        return 0.0 if number is None else float(self.optimizer.param_groups[number]["lr"])

    def _step(self) -> None:
        for term in self._terms:
            term.differentiated()
        if self._plan.strategy.clip > 0.0:
            torch.nn.utils.clip_grad_norm_(self._trained, self._plan.strategy.clip)
        for term in self._terms:
            term.pull(self._rate_of)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for term in self._terms:
            term.stepped()


def _size(labels: Sequence[torch.Tensor], counts: Sequence[torch.Tensor | None]) -> float:
    """How many images these are, as they count."""
    return sum(
        float(len(part)) if own is None else float(own.sum())
        for part, own in zip(labels, counts, strict=True)
    )


def _check(losses: torch.Tensor, epoch: int, rate: float, frozen: torch.Tensor | None) -> None:
    """Raise where a loss is not finite; `frozen` is what the frozen prefix gave in the last step."""
    if math.isfinite(float(losses.sum())):
        return
    step = int((~torch.isfinite(losses)).nonzero()[0, 0]) + 1
    if frozen is not None and not bool(torch.isfinite(frozen).all()):
        raise NotANumberError(
            f"activations of the frozen groups must be finite, got NaN or infinity in epoch {epoch}, step "
            f"{step}: no training can mend that; end the network earlier (truncation), choose a smaller "
            "weight_scale or another source"
        )
    raise NotANumberError(
        f"the training loss must be finite, got {float(losses[step - 1])} in epoch {epoch}, step {step}, "
        f"at learning rate {rate:.3g}: lower it, clip gradients or warm up longer"
    )
