"""Which device to train on."""

from __future__ import annotations

import os

import torch

from automl_transfer.errors import ConfigurationError
from automl_transfer.machine import usable_cores


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device that is there.

    Every computation begins here, so torch is also told of a container's share of the processor's time: it
    counts the cores it may run on only, and more threads than the share wait for each other.

    Raises:
        ConfigurationError: No such device on this machine.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > (most := usable_cores()):
        torch.set_num_threads(most)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"device must be auto, cpu, cuda, cuda:N or mps, got {name!r}") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigurationError(
            f"the device must be on this machine, got {name!r}: use --device auto or cpu"
        )
    return device
