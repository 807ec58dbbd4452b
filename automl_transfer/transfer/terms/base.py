"""The contract of a term, and the one that adds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.views import Images

Rest = tuple[Tensor, Tensor | None]
"""What `TargetModel.features` goes on from: an activation, and the pooled taps below it."""


@dataclass(frozen=True)
class Beginning:
    """What a term is told before training.

    Attributes:
        model: As training begins with it: initialised, its head too.
        source: The untouched backbone that it was made of.
        transferred: Number of leading groups whose weights are the source's.
        images: Of the task.
        rows: Those of the training split: no other image may be looked at.
        labels: (N,) of all rows.
        classes: Number of them.
        normalise: From pixels to the network's input.
        weights: (N,) how often each row counts; None where all count once.
    """

    model: TransferModel
    source: Backbone
    transferred: int
    strategy: Strategy
    images: Images
    rows: np.ndarray
    labels: np.ndarray
    classes: int
    normalise: Normaliser
    weights: np.ndarray | None = None

    def transferred_parameters(self) -> dict[str, nn.Parameter]:
        """Those of the transferred groups, by their names in the model."""
        prefixes = tuple(f"groups.{number}." for number in range(self.transferred))
        return {
            name: p for name, p in self.model.named_parameters() if prefixes and name.startswith(prefixes)
        }


class Term:
    """Adds nothing; every method may be overridden.

    One object belongs to one run. What it keeps between steps belongs into `state`: checkpoints hold it, and
    an epoch that is begun again begins with it, so that an interrupted run ends with the same weights. What
    it draws comes from torch's global generator, which is seeded for each epoch, on each device for itself.

        class Quiet(Term):  # penalises large logits
            def loss(self, rest, logits, targets):
                return self.strength * logits.square().mean()

    Args:
        strength: The strategy's value beside the term's name (`anchor_weight`, `mix_alpha`).

    Attributes:
        mixes: Whether `batch` changes inputs or targets; targets are then (B, C) probabilities.
        on_pixels: Whether `pixels` changes images: nothing of a frozen part is then kept between epochs.
        shards: Whether it also works where each device keeps a part of each weight (`--shard fsdp`): it reads
            activations alone, or sees to it in `sharded`. Others have whole weights on each device.
        anchors: Whether transferred parameters are pulled somewhere: weight decay leaves them alone.
        counts: (B,) how often each row of the part counts that `loss` is asked about; None: once.
    """

    mixes = False
    on_pixels = False
    shards = False
    anchors = False
    counts: Tensor | None = None

    def __init__(self, strength: float = 0.0) -> None:
        self.strength = strength

    def begin(self, beginning: Beginning) -> None:
        """Called once, before anything is trained or restored."""

    def sharded(self) -> None:
        """Called on a copy whose model's weights have become parts, before its state is loaded.

        They are DTensors then, of the same names; so must be what is kept to go with them (`part_of`).
        """

    def parameters(self) -> Sequence[nn.Parameter]:
        """Its own, which train with the body at the strategy's learning rate; they belong into `state`."""
        return ()

    def factors(self) -> Mapping[nn.Parameter, tuple[nn.Parameter, ...]]:
        """Its own that train in place of a weight, at its rate and decay; in `state` as well."""
        return {}

    def hooks(self) -> Iterable[RemovableHandle]:
        """Called before an epoch's first step, with the model in training mode: hooks until its last one.

        A term that reads activations, or changes them while training, registers them here; whoever judges
        or ships the model sees nothing of them.
        """
        return ()

    def pixels(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """(B, C, H, W) images before they are normalised, numbers from 0 to 255; only if `on_pixels`.

        Targets are (B,) labels. Called in the order of the terms, before anything is mixed.
        """
        return pixels

    def batch(self, rest: Rest, targets: Tensor) -> tuple[Rest, Tensor]:
        """The inputs of the trained part, pixels or kept activations, and (B, C) targets; only if `mixes`.

        Targets add up to 1, or to what a row counts: mix them linearly.
        """
        return rest, targets

    def loss(self, rest: Rest, logits: Tensor, targets: Tensor) -> Tensor | None:
        """A mean over this part of the batch that is added to the loss; None for nothing.

        Logits are float32; what hooks see of a model that trains in 16 bits is not. Targets are (B,) labels,
        or (B, C) probabilities where a term mixes.
        """
        return None

    def differentiated(self) -> None:
        """Called when a step's gradients are there, before they are clipped."""

    def pull(self, rate_of: Callable[[nn.Parameter], float]) -> None:
        """Move parameters beside the optimiser, at their present learning rates, before its step.

        An adaptive optimiser divides gradients by their size: a pull that went through it would be as strong
        on every weight, however far that is from where it is pulled (Loshchilov & Hutter 2019, section 2).
        """

    def stepped(self) -> None:
        """Called after each step of the optimiser; first on terms with `factors`, which make weights up."""

    def shown(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From weights and buffers that training moves, by name, to those that are judged and shipped."""
        return weights

    def state(self) -> dict[str, Tensor]:
        """What changes from step to step."""
        return {}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""


@torch.no_grad()
def part_of(values: Tensor, weight: Tensor) -> Tensor:
    """A copy of whole values laid out as a weight is, on its device: a part where the weight is one."""
    if not is_part(weight):
        return values.to(weight.device, copy=True)
    from torch.distributed.tensor import DTensor, distribute_tensor  # half a second, for few

    assert isinstance(weight, DTensor)
    placed = values.to(weight.device).contiguous()
    # Every device has the whole values: nothing is sent.
    part: Tensor = distribute_tensor(placed, weight.device_mesh, weight.placements, src_data_rank=None)
    return part.clone()


def is_part(tensor: Tensor) -> bool:
    """Whether this is the part of a tensor that this device keeps: a DTensor."""
    return hasattr(tensor, "placements")


@contextmanager
def hooked(terms: Iterable[Term]) -> Iterator[None]:
    """With the terms' hooks in place."""
    handles: list[RemovableHandle] = []
    try:
        for term in terms:
            handles.extend(term.hooks())
        yield
    finally:
        for handle in handles:
            handle.remove()


def as_probabilities(targets: Tensor, classes: int) -> Tensor:
    """(B, C) probabilities of (B,) labels; those stay as they are."""
    return targets if targets.dim() == 2 else nn.functional.one_hot(targets, classes).float()
