"""What the benchmarks say about the machine."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any


def processors() -> list[str]:
    """The model name of each core; empty where the system does not say."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]


def machine() -> dict[str, Any]:
    """What a cell runs on, with a yardstick: milliseconds of one training step of a fixed small network."""
    import torch

    names = processors()
    network = torch.nn.Sequential(
        torch.nn.Conv2d(16, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3, padding=1)
    ).to(memory_format=torch.channels_last)
    images = torch.rand(64, 16, 32, 32).contiguous(memory_format=torch.channels_last)
    steps = []
    for _ in range(25):
        began = time.perf_counter()
        network(images).square().mean().backward()
        steps.append(1000 * (time.perf_counter() - began))
    return {
        "cpu": names[0] if names else "unknown", "cores": len(names), "threads": torch.get_num_threads(),
        "step_ms": round(statistics.median(steps), 2),
    }  # fmt: skip
