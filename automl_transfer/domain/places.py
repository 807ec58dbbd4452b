"""Where things lie unless someone says otherwise, relative to the current directory."""

from __future__ import annotations

from pathlib import Path

RUNS = Path("runs")
"""Results of studies, a folder each."""
DEFAULT_DATABASE = RUNS / "automl-transfer.db"
