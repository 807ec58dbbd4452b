"""The transfer plan: a model ready to train, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.dimensions import CLOSED_FORM
from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer.drawn import Draw, Drawn
from automl_transfer.transfer.freeze import TransferModel, freeze
from automl_transfer.transfer.norms import batch_norms
from automl_transfer.transfer.optimise import parameter_groups
from automl_transfer.transfer.phases import Phase
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.prepare.base import Reconstructions
from automl_transfer.transfer.select import Selection
from automl_transfer.transfer.terms.base import Term
from automl_transfer.transfer.views import NO_VIEWS, Augment, Views


@dataclass(frozen=True)
class GroupRow:
    """What happens to one layer group, or to the head."""

    name: str
    note: str
    transferred: bool
    frozen: bool
    init: str
    parameters: int
    trained: int
    learning_rate: float | None


@dataclass(frozen=True)
class TransferPlan:
    """A strategy applied to a source and a task.

    Attributes:
        selection: Which layer groups it keeps, transfers and freezes.
        model: What trains is set for the strategy's tune mode, until a phase is entered.
        rows: One per layer group, then the head.
        terms: What is added to each step.
        mean, std: Normalisation constants per channel; None where each image has its own.
        augment: In which views training images are seen, one after the other.
        draw: How these are drawn anew in every pass; None where they are not.
        reconstructions: What a preparation by reconstruction made of some images; None without one.
    """

    strategy: Strategy
    selection: Selection
    model: TransferModel
    rows: tuple[GroupRow, ...]
    terms: tuple[Term, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    augment: Augment = NO_VIEWS
    draw: Draw | None = None
    reconstructions: Reconstructions | None = None

    def seen(self, task: LoadedTask) -> Views | Drawn:
        """The training images as passes over them see them; the others as they are."""
        if self.draw is None:
            return Views(task.images, self.augment)
        larger = task.enlarged() if self.draw.crop < 1.0 else None
        return Drawn(task.images, larger, self.draw, self.augment)

    def enter(self, phase: Phase) -> None:
        """Set what trains and what is held, as a phase has it."""
        freeze(self.model, self.strategy, self.selection.transferred, phase.tune_mode, phase.frozen)

    @property
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Of what trains now, for torch optimizers: params, lr, weight_decay, name."""
        anchored = self.selection.transferred if any(term.anchors for term in self.terms) else 0
        factors = {weight: own for term in self.terms for weight, own in term.factors().items()}
        found = parameter_groups(self.model, self.strategy, anchored, factors)
        own = [parameter for term in self.terms for parameter in term.parameters()]
        if own:
            rates = {"lr": self.strategy.learning_rate, "weight_decay": self.strategy.weight_decay}
            found.append({"params": own, **rates, "name": "terms"})
        return found

    @property
    def on_pixels(self) -> bool:
        """Whether a term changes the images of each step."""
        return any(term.on_pixels for term in self.terms)

    @property
    def frozen_prefix(self) -> int:
        """Number of leading groups that are frozen now, in evaluation mode and deterministic."""
        return self.model.frozen_prefix

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(row.parameters for row in self.rows)

    @property
    def trained_parameters(self) -> int:
        """Number of parameters that training moves."""
        return sum(row.trained for row in self.rows)

    def normaliser(self, device: torch.device | str) -> Normaliser:
        """Turns stored pixels into this model's input."""
        return Normaliser(self.mean, self.std, device)

    @property
    def caching(self) -> str:
        """What of this plan's activations can be kept between epochs, or why nothing can."""
        first, mode = self.rows[0], self.strategy.tune_mode
        if mode == CLOSED_FORM:
            seen = "image" if self.augment.count == 1 else "view"
            return f"kept between epochs: nothing, every {seen} is seen once"
        if self.draw is not None:
            return "kept between epochs: nothing, training images are drawn anew in every pass"
        if self.on_pixels:
            return "kept between epochs: nothing, training images are changed in every step"
        views = "" if self.augment.count == 1 else f" for {self.augment.count} views of each training image"
        if self.frozen_prefix == 0:
            part = {
                "norm": "the norm layers of ",
                "bias": "the biases of ",
                "adapter": "the adapters of ",
            }.get(mode, "")
            what = f"{part}{first.name} {'train' if part else 'trains'}"
            return f"kept between epochs: nothing, {what}" + ("" if first.transferred else " from scratch")
        last = self.rows[self.frozen_prefix - 1].name
        kept = (
            f"kept between epochs: the output of {last}{views} or of a group below it, as time and room allow"
            ", as float16 where float32 has no room"
        )
        if self.strategy.norm_policy == "adapt" and batch_norms(self.model.groups[: self.frozen_prefix]):
            kept += "; trials on other training images share nothing of it, since its norm layers follow them"
        return kept

    def describe(self) -> str:
        """A table for people: one line per layer group, then the head, and what can be cached."""
        header = ("group", "note", "transferred", "frozen", "init", "parameters", "trained", "learning rate")
        lines = [header]
        for row in self.rows:
            rate = "-" if row.learning_rate is None else f"{row.learning_rate:.3g}"
            yes = ("yes" if row.transferred else "no", "yes" if row.frozen else "no")
            lines.append(
                (row.name, row.note, *yes, row.init, f"{row.parameters:,}", f"{row.trained:,}", rate)
            )
        totals = (f"{self.parameters:,}", f"{self.trained_parameters:,}")
        lines.append(("total", "", "", "", "", *totals, ""))
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        numbers = (5, 6, 7)
        lines_of_text = [
            "  ".join(
                cell.rjust(width) if column in numbers else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*lines_of_text, self.caching])
