"""The benchmarks are scripts, not a package: their folders go onto the path."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.extend(str(folder) for folder in (BENCHMARKS, BENCHMARKS / "table", BENCHMARKS / "photos"))
