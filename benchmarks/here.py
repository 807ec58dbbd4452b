"""What the benchmarks say about the machine."""

from __future__ import annotations

from pathlib import Path


def processors() -> list[str]:
    """The model name of each core; empty where the system does not say."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
