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
from automl_transfer.training.crew import Crew, ElsewhereError, raise_together, words_of
from automl_transfer.training.inputs import Inputs
from automl_transfer.training.loss import Loss, balanced_weights, counted, uncounted
from automl_transfer.training.optimizers import make_optimizer
from automl_transfer.training.precision import Scaling
from automl_transfer.training.schedule import rate_factor
from automl_transfer.transfer.allocator import keep_freed_memory
from automl_transfer.transfer.norms import followed_statistics
from automl_transfer.transfer.pixels import as_numbers
from automl_transfer.transfer.plan import TransferPlan
from automl_transfer.transfer.terms.base import hooked

_CHECK_EVERY = {"cpu": 1}
"""Steps between looks at the loss; a look makes other devices wait."""


class Stepper:
    """Moves the weights that train now, one optimiser step per effective batch.

    Attributes:
        plan: Whose model it moves.
        sharded: Whether each device keeps a part of the weights.
        optimizer: Its state, and that of `scaling`, is what an epoch goes on from, besides weights and terms.
    """

    sharded = False

    def __init__(
        self, plan: TransferPlan, task: LoadedTask, device: torch.device, crew: Crew, scaling: Scaling
    ) -> None:
        keep_freed_memory()
        strategy = plan.strategy
        self.plan = plan
        self._device = device
        self._crew = crew
        self.scaling = scaling
        groups = plan.parameter_groups
        self.optimizer = make_optimizer(strategy, groups, device)
        self._rates = [float(group["lr"]) for group in groups]
        self._trained = [p for group in groups for p in group["params"]]
        self._group_of = {p: number for number, group in enumerate(groups) for p in group["params"]}
        self._terms = plan.terms
        # Weights that factors make up are there before averages and the like look at them.
        self._after_step = sorted(plan.terms, key=lambda term: not term.factors())
        # What a backward pass reaches: the weights themselves, where terms train factors in their place.
        own = [p for term in plan.terms for p in term.parameters()]
        self._reached = [p for p in (*plan.model.parameters(), *own) if p.requires_grad]
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
        batches: Sequence[np.ndarray],
        *,
        at_once: int,
        least: int,
        epoch: int,
        schedule: tuple[int, int],
    ) -> tuple[float, float]:
        """One epoch; mean training loss (nats), and the base learning rate of the last step.

        Args:
            inputs: What the trained part takes.
            batches: The rows of each effective batch, on all devices together.
            at_once: So many of them go through a model at once, about, and never fewer than `least`.
            least: As `at_once` says.
            epoch: Counted from 1.
            schedule: Epoch that it begins with, and its length in epochs.

        Raises:
            NotANumberError: The loss became NaN or infinite.
            Aborted: That was asked for; asked before every step.
        """
        self.plan.model.train()
        steps = [self._crew.share(rows, least, at_once) for rows in batches]
        with hooked(self._terms):
            found = self._train(inputs, batches, steps, epoch, schedule)
        own = sum(len(part) for step in steps for part in step)
        self._crew.even_out(followed_statistics(self.plan.model), own)
        return found

    def _train(
        self,
        inputs: Inputs,
        batches: Sequence[np.ndarray],
        steps: Sequence[Sequence[np.ndarray]],
        epoch: int,
        schedule: tuple[int, int],
    ) -> tuple[float, float]:
        strategy = self.plan.strategy
        for parameter in self._reached:
            parameter.grad = None  # of an epoch that was given up
        parts = [part for step in steps for part in step]
        # A CPU is busy with the step: reading ahead what lies there gains nothing (`benchmarks/steps.py`).
        at_once = inputs.in_memory or (self._device.type == "cpu" and not inputs.costly)
        reader = map(inputs.read, parts) if at_once else read_ahead(inputs.read, parts)
        total_steps, done = schedule[1] * len(steps), (epoch - schedule[0]) * len(steps)
        losses = torch.zeros(len(steps), device=self._device)
        sizes = torch.tensor([_size([rows], [self._counted(rows)]) for rows in map(self._rows, batches)])
        every = _CHECK_EVERY.get(self._device.type, 32)
        rate = strategy.learning_rate
        x: torch.Tensor | None = None
        trouble: Exception | None = None
        for number, step in enumerate(steps):
            asked = False
            try:
                asked = abort_is_asked()
            except Exception as error:  # the trial is lost: the others have to know, they wait in this step
                if self._crew.size == 1:
                    raise
                trouble = error
            if asked and self._crew.size == 1:
                raise Aborted
            factor = rate_factor(strategy.schedule, done + number, total_steps, strategy.warmup)
            rate = strategy.learning_rate * factor
            for group, base in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = base * factor
            rows = [self._rows(part) for part in step]
            labels = [self._labels[part].to(self._device) for part in rows]
            counts = [self._counted(part) for part in rows]
            total = sum(map(self._loss.weight, labels, counts), start=0.0)
            size = _size(labels, counts)
            if self._crew.size > 1:
                # A step's loss is the mean over the images of all members.
                flags = [float(asked), float(trouble is not None)]
                total, size, stop, late = self._crew.add([float(total), size, *flags])
                if late:
                    raise_together(trouble, self._crew.agree(words_of(trouble)))
                if stop:
                    raise Aborted
            try:
                for part, own in zip(labels, counts, strict=True):
                    x, loss = self._backward(inputs, next(reader), part, own, total, size)
                    losses[number] += loss
            except ElsewhereError:
                pass
            except (RuntimeError, MemoryError, TrialDataError) as error:
                if self._crew.size == 1:
                    raise
                trouble = error
            said = self._crew.sync(self._reached, losses[number], words_of(trouble))
            raise_together(trouble, said)
            if (number + 1) % every == 0 or number + 1 == len(steps):
                _check(losses[: number + 1], epoch, rate, x if inputs.start else None)
            try:
                if not self._step():
                    raise NotANumberError(
                        f"gradients must be finite at some scale of the loss, got none in epoch {epoch}, "
                        f"step {number + 1}, at learning rate {rate:.3g}: lower it, clip gradients, or train "
                        "in fp32"
                    )
            except (RuntimeError, MemoryError) as error:  # an optimiser takes memory in its first step
                if self._crew.size == 1:
                    raise
                trouble = error
        raise_together(trouble, self._crew.agree(words_of(trouble)))
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
        with self.scaling.forward():
            logits = self.plan.model(x, inputs.start, below)
        logits = logits.float()
        loss = self._loss(logits, targets, total, own)
        found = loss.detach()
        for term in self._terms:
            term.counts = own
            if (added := term.loss(rest, logits, targets)) is not None:
                loss = loss + share * added
        self.scaling.backward(loss)
        return x, found

    def _rows(self, part: np.ndarray) -> torch.Tensor:
        """Of the task: numbers count the images on, view by view."""
        return torch.from_numpy(part % len(self._labels))

    def _counted(self, rows: torch.Tensor) -> torch.Tensor | None:
        return None if self._counts is None else self._counts[rows].to(self._device)

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

    def _step(self) -> bool:
        """Move the weights; whether gradients are finite at any scale of the loss."""
        for term in self._terms:
            term.differentiated()
        if finite := self.scaling.unscale(self.optimizer, self._trained):
            if self.plan.strategy.clip > 0.0:
                torch.nn.utils.clip_grad_norm_(self._trained, self.plan.strategy.clip)
            for term in self._terms:
                term.pull(self._rate_of)
        fine = self.scaling.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        if finite:
            for term in self._after_step:
                term.stepped()
        return fine


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
