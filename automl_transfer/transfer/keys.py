"""What the numbers that a network computes depend on, as plain values: keys under which they are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from automl_transfer.transfer.pixels import Normaliser


def weights_digest(groups: Iterable[nn.Module]) -> str:
    """Digest over the weights and buffers of some groups, and over what they are."""
    found = hashlib.sha256()
    for number, group in enumerate(groups):
        found.update(repr(group).encode())
        for name, tensor in group.state_dict().items():
            found.update(f"{number}.{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:32]


def rows_digest(rows: np.ndarray) -> str:
    """Digest over numbers of rows, in order."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:32]


def rounding(normalise: Normaliser) -> dict[str, Any]:
    """How pixels are transformed, and what the last bits of all that follows depend on."""
    return {
        "transform": normalise.facts(),
        "threads": torch.get_num_threads(),
        "device": str(normalise.device),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }
