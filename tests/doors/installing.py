"""Installs what pip leaves of a package that adds one thing: a module, and one line of metadata."""

from __future__ import annotations

import shutil
from pathlib import Path

OUTSIDE = Path(__file__).with_name("outside")

POINTS = {
    "initialisers": "halves = door_initialiser:halves",
    "terms": "near_average = door_term:NearAverage",
    "mixes": "next_one = door_mix:NextOne",
    "phases": "head_first = door_phases:head_first",
    "figures": "how-many = door_figure:FIGURE",
    "preparations": "unit_variance = door_preparation:unit_variance",
    "distortions": "halves_swapped = door_distortion:halves_swapped",
    "datasets": "shells = door_dataset:Shells",
    "sources": "tinynet = door_source:TinyNet",
    "found": "tiles = door_found:Tiles",
    "metrics": "half_marks = door_metric:half_marks",
    "scores": "spread = door_score:spread",
    "launchers": "typed = door_launcher:Typed",
    "checks": "counted = door_check:Counted",
}
"""The one line of each door, by its group."""


def install(group: str, site: Path) -> None:
    """One package for one door: one file, one entry point."""
    module = POINTS[group].split("= ")[1].split(":")[0]
    shutil.copy(OUTSIDE / f"{module}.py", site)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[automl_transfer.{group}]\n{POINTS[group]}\n")
