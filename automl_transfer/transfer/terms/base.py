"""The contract of a term, and the one that adds nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.transfer.freeze import TransferModel

Rest = tuple[Tensor, Tensor | None]
"""What `TargetModel.features` goes on from: an activation, and the pooled taps below it."""


@dataclass(frozen=True)
class Beginning:
    """What a term is told before training.

    Attributes:
        model: As training begins with it: initialised, its head too.
        source: The untouched backbone that it was made of.
        transferred: Number of leading groups whose weights are the source's.
    """

    model: TransferModel
    source: Backbone
    transferred: int
    strategy: Strategy

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
    it draws comes from torch's global generator, which is seeded for each epoch.

        class Quiet(Term):  # penalises large logits
            def loss(self, rest, logits, targets):
                return self.strength * logits.square().mean()

    Args:
        strength: The strategy's value beside the term's name (`anchor_weight`, `mix_alpha`).

    Attributes:
        mixes: Whether `batch` changes inputs or targets; targets are then (B, C) probabilities.
        anchors: Whether transferred parameters are pulled somewhere: weight decay leaves them alone.
    """

    mixes = False
    anchors = False

    def __init__(self, strength: float = 0.0) -> None:
        self.strength = strength

    def begin(self, beginning: Beginning) -> None:
        """Called once, before anything is trained or restored."""

    def batch(self, rest: Rest, targets: Tensor) -> tuple[Rest, Tensor]:
        """The inputs of the trained part, pixels or kept activations, and (B, C) targets; only if `mixes`."""
        return rest, targets

    def loss(self, rest: Rest, logits: Tensor, targets: Tensor) -> Tensor | None:
        """A mean over this part of the batch that is added to the loss; None for nothing.

        Targets are (B,) labels, or (B, C) probabilities where a term mixes.
        """
        return None

    def pull(self, rate_of: Callable[[nn.Parameter], float]) -> None:
        """Move parameters beside the optimiser, at their present learning rates, before its step.

        An adaptive optimiser divides gradients by their size: a pull that went through it would be as strong
        on every weight, however far that is from where it is pulled (Loshchilov & Hutter 2019, section 2).
        """

    def state(self) -> dict[str, Tensor]:
        """What changes from step to step."""
        return {}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
