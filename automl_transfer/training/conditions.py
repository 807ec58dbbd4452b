"""The conditions under which the same seed gives the same bits, and how they are set up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from automl_transfer.domain.spec import Precision
from automl_transfer.training.inputs import Inputs

_CHECKED = (
    "threads", "dtype", "precision", "batch", "accumulate", "stored", "prefix", "device", "devices", "shard",
    "cpu", "torch",
)  # fmt: skip
_UNSAID = {"devices": 1, "shard": "ddp", "precision": "fp32"}
"""What a condition is where it is not written."""


def current_conditions(
    device: torch.device,
    *,
    batch: int,
    accumulate: int,
    inputs: Inputs,
    devices: int = 1,
    sharded: bool = False,
    precision: Precision = "fp32",
) -> dict[str, Any]:
    """What rounding depends on: threads, types, realised batch, stored activations, devices, versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    # How a frozen prefix is computed; runs without one, and those of before, have no such condition.
    prefix = {} if inputs.start == 0 else {"prefix": f"norms folded, {inputs.dtype}"}
    return {
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "batch": batch,
        "accumulate": accumulate,
        "stored": inputs.in_memory,
        **prefix,
        "device": name,
        **({} if devices == 1 else {"devices": devices}),
        **({"shard": "fsdp"} if sharded else {}),
        **({} if precision == "fp32" else {"precision": precision}),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Conditions that changed, in words."""
    pairs = ((key, then.get(key, _UNSAID.get(key)), now.get(key, _UNSAID.get(key))) for key in _CHECKED)
    return tuple(f"{key} was {before}, is {after}" for key, before, after in pairs if before != after)


@contextlib.contextmanager
def reproducible(seed: int, epoch: int, device: torch.device, rank: int = 0) -> Iterator[None]:
    """Deterministic kernels and torch's global generators seeded from (seed, epoch, rank).

    Dropout, mixes and noise draw from the global generators, so that devices that train one model differ by
    their rank; what generators and switches were before is put back.
    """
    member = (rank,) if rank else ()
    mixed = int(np.random.SeedSequence([seed, epoch, 1, *member]).generate_state(1)[0])
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(mixed)
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
