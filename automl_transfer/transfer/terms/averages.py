"""Weights that are judged and shipped in the place of those that train: averages over steps and ways back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from automl_transfer.transfer.freeze import TransferModel, live_tensors
from automl_transfer.transfer.terms.base import Beginning, Term, part_of

_STEPS = "steps"


class EMA(Term):
    """An exponential average of weights and running statistics: a <- d a + (1 - d) w after each step.

    d is min(strength, (1 + t) / (10 + t)) after step t, so that the start is soon forgotten where steps are
    few (as TensorFlow's ExponentialMovingAverage has it; Tarvainen & Valpola 2017, section 3). Averages of
    what has trained and freezes go on to where it stands: the rest trains on that.
    """

    shards = True

    def begin(self, beginning: Beginning) -> None:
        """The average begins with the weights as they are."""
        self._model: TransferModel = beginning.model
        self._steps = 0
        self._average = {name: tensor.clone() for name, tensor in live_tensors(self._model).items()}

    @torch.no_grad()
    def stepped(self) -> None:
        """Take the new weights in."""
        self._steps += 1
        share = 1.0 - min(self.strength, (1 + self._steps) / (10 + self._steps))
        for name, tensor in live_tensors(self._model).items():
            if name not in self._average:  # of a phase that trains more
                self._average[name] = tensor.clone()
        tensors = _all_tensors(self._model)
        for name, average in self._average.items():
            if average.is_floating_point():
                average.lerp_(tensors[name], share)
            else:
                average.copy_(tensors[name])

    def shown(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The averages."""
        return {name: self._average.get(name, tensor) for name, tensor in weights.items()}

    def state(self) -> dict[str, Tensor]:
        """The averages, and of how many steps."""
        return {_STEPS: torch.tensor(self._steps), **{f"of.{n}": t for n, t in self._average.items()}}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Go on from there."""
        own = _all_tensors(self._model)
        self._steps = int(tensors[_STEPS])
        self._average = {
            name: part_of(tensor, own[name])
            for name, tensor in ((key.removeprefix("of."), t) for key, t in tensors.items() if key != _STEPS)
        }


def _all_tensors(model: TransferModel) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


class Wise(Term):
    """(1 - a) w0 + a w: between where training began and where it is (WiSE-FT, Wortsman et al. 2022, eq. 1).

    The whole model that training began with answers already: its head was solved on the source's features.
    """

    shards = True

    def begin(self, beginning: Beginning) -> None:
        """Keep the start."""
        self._start = {name: tensor.clone() for name, tensor in live_tensors(beginning.model).items()}

    def shown(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights and running statistics on the way; counters as they are."""
        return {
            name: tensor.lerp(self._start[name], 1.0 - self.strength)
            if name in self._start and tensor.is_floating_point()
            else tensor
            for name, tensor in weights.items()
        }
