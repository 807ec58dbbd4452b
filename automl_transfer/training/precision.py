"""Mixed precision: forward and backward passes of what trains in 16 bits, all else in 32 (Micikevicius 2018).

Weights, their gradients, the optimiser's state, losses, frozen prefixes, solved heads and judgements stay in
float32: the model that is judged is the one that ships.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from automl_transfer.domain.spec import PRECISIONS, Precision
from automl_transfer.errors import ConfigurationError

TYPES: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SCALE = 1.0
"""Gradients that are not finite at this scale are not so because of it."""


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise ConfigurationError where a device cannot train so."""
    if precision == "fp32":
        return
    if device.type not in ("cpu", "cuda"):
        raise ConfigurationError(
            f"precision must be fp32 on {device.type}, got {precision!r}: 16 bits are for cpu and cuda"
        )
    if (
        device.type == "cuda"
        and precision == "bf16"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ConfigurationError(
            f"precision must be fp32 or fp16 on {torch.cuda.get_device_name(device)}, which has no bf16, got "
            f"{precision!r}"
        )
    try:
        with torch.autocast(device.type, TYPES[precision]):
            layer = nn.Conv2d(1, 1, 1, device=device)
            layer(torch.zeros(1, 1, 2, 2, device=device)).sum().backward()
    except RuntimeError as error:
        raise ConfigurationError(
            f"precision must be one that torch has on {device.type}, got {precision!r} ({error}): take fp32"
        ) from error


def precision_here(conditions: Mapping[str, object], device: torch.device) -> Precision:
    """What a model was trained in, where a device can do so, else fp32: conditions say that they differ."""
    for found in PRECISIONS:
        if found == conditions.get("precision"):
            try:
                check_precision(found, device)
            except ConfigurationError:
                break
            return found
    return "fp32"


class Scaling:
    """How a step is computed in a precision; of fp16, the scale of its loss.

    fp16 ends at 65,504 and at 6e-8: the loss is scaled up so that gradients do not vanish, and a step whose
    gradients overflow is left out and the scale halved (Micikevicius 2018, section 3.2).

    Attributes:
        skipped: Steps left out so far.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self._type, self._device = TYPES.get(precision), device
        self._scaler = self._fresh()
        self.skipped = 0

    def _fresh(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self._device.type, enabled=self._type == torch.float16)

    def forward(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, a model's layers run in 16 bits where that is safe."""
        if self._type is None:
            return contextlib.nullcontext()
        # No cache of cast weights: it would hold those of layers that are sharded, and a part is used once.
        return torch.autocast(self._device.type, self._type, cache_enabled=False)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss, scaled."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer, trained: Sequence[nn.Parameter]) -> bool:
        """Gradients as they are; whether the step is to be taken."""
        if not self._scaler.is_enabled():
            return True
        self._scaler.unscale_(optimizer)
        grads = [p.grad for p in trained if p.grad is not None]
        largest = torch.nn.utils.get_total_norm(grads, float("inf"))
        return bool(torch.isfinite(whole(largest)))

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Take the step, or leave it out where gradients overflowed; whether they need not at some scale."""
        self._scaler.step(optimizer)
        before = self._scaler.get_scale()
        self._scaler.update()
        self.skipped += self._scaler.get_scale() < before
        return not self._scaler.is_enabled() or self._scaler.get_scale() >= SMALLEST_SCALE

    def state(self) -> dict[str, Any]:
        """What changes from step to step; plain values."""
        return {"skipped": self.skipped, **self._scaler.state_dict()} if self._scaler.is_enabled() else {}

    def load(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave; what another precision gave is left."""
        self._scaler = self._fresh()  # one that was left in the middle of a step refuses the next
        if state and self._scaler.is_enabled():
            self.skipped = int(state["skipped"])
            self._scaler.load_state_dict({key: value for key, value in state.items() if key != "skipped"})


def whole(value: Tensor) -> Tensor:
    """The value of a norm over parts of weights that lie on several devices, and any other as it is."""
    gather = getattr(value, "full_tensor", None)
    return value if gather is None else gather()
