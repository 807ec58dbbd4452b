"""Co-Tuning: the source's classifier is trained on, towards its own classes (You et al. 2020)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from automl_transfer.errors import ConfigurationError
from automl_transfer.transfer.features import batch_for, forward_rows, pixel_elements
from automl_transfer.transfer.ridge import mean_of
from automl_transfer.transfer.terms.base import Beginning, Rest, Term, as_probabilities

SCALE = 100.0
"""The paper's lambda is so many times the strength: its values (about .1 to 10) fit the range of anchors."""
CALIBRATION = 0.884
"""What logits are multiplied by before the relationship is learned.

The paper calibrates them on the source's validation images, which are not here: this is what its authors
publish for an ImageNet network.
"""


class CoTuning(Term):
    """SCALE * strength * CE(p(y_s | y_t), source classifier on the features), beside the new head (eq. 4).

    The relationship p(y_s | y_t = c) is the mean of the source's calibrated answers over training images of
    class c (section 3.2, the direct approach), before anything trains. The classifier trains with the body.
    """

    def begin(self, beginning: Beginning) -> None:
        """Learn the relationship.

        Raises:
            ConfigurationError: The source has no classifier, or a part of its network is not transferred.
        """
        source, model = beginning.source, beginning.model
        if source.source_head is None:
            raise ConfigurationError(
                f"anchor must not be co_tuning where the source comes without its own classifier, as "
                f"{beginning.strategy.source} does: take another anchor, or another source"
            )
        if beginning.transferred < len(source.groups):
            raise ConfigurationError(
                "the whole network must be transferred where anchor is co_tuning, got "
                f"{beginning.transferred} of {len(source.groups)} groups: set truncation and "
                "transfer_depth to 8"
            )
        device = beginning.normalise.device
        self._classes = beginning.classes
        self._model = model
        self._top = model.groups[len(model.groups) - 1]
        self._head = copy.deepcopy(source.source_head).to(device).eval().requires_grad_(True)
        self._activation: Tensor | None = None

        def answers(images: Tensor) -> Tensor:
            x = model.resize(images)
            for group in model.groups:
                x = group(x)
            return torch.softmax(CALIBRATION * self._head(x), dim=1)

        elements = pixel_elements(beginning.images.shape[1:3], model.resolution_scale)
        batch = batch_for(elements, device)
        found = forward_rows(answers, beginning.images, beginning.rows, beginning.normalise, batch)
        labels = beginning.labels[beginning.rows]
        counts = None if beginning.weights is None else torch.from_numpy(beginning.weights[beginning.rows])
        self._relationship = relationship(found, labels, beginning.classes, counts).to(device)

    def parameters(self) -> Sequence[nn.Parameter]:
        """The source classifier's."""
        return list(self._head.parameters())

    def hooks(self) -> Iterable[RemovableHandle]:
        """Keep what the classifier reads."""

        def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            self._activation = output.float()

        yield self._top.register_forward_hook(keep)

    def loss(self, rest: Rest, logits: Tensor, targets: Tensor) -> Tensor | None:
        """Cross-entropy to the source classes that the images' own stand for; None where no group trains."""
        activation, self._activation = self._activation, None
        if activation is None or self._model.frozen_prefix == len(self._model.groups):
            return None  # what was kept may be of another term's look at the model
        wanted = as_probabilities(targets, self._classes) @ self._relationship
        logs = torch.log_softmax(self._head(activation), dim=1)
        return -SCALE * self.strength * mean_of((wanted * logs).sum(dim=1), self.counts)

    def state(self) -> dict[str, Tensor]:
        """The source classifier's weights."""
        return {name: tensor.detach() for name, tensor in self._head.named_parameters()}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Put them back."""
        for name, parameter in self._head.named_parameters():
            parameter.copy_(tensors[name])


def relationship(answers: Tensor, labels: np.ndarray, classes: int, counts: Tensor | None = None) -> Tensor:
    """(classes, source classes) means of (n, source classes) answers over each class, as rows count."""
    members = torch.from_numpy(labels.astype(np.int64))
    own = None if counts is None else counts.to(answers.dtype)
    found = mean_of(answers, own).repeat(classes, 1)
    for each in set(members.tolist()):  # of a class without images, the mean of all
        here = members == each
        found[each] = mean_of(answers[here], None if own is None else own[here])
    return found
