"""The replay as a picture: mean regret over time, beside it the pruners and orders of the project's sampler.

    python benchmarks/replay.py --curves curves.json
    python benchmarks/table/figure.py curves.json [FILE.png]

Time is in whole trainings of each task's median strategy, so that tasks can be averaged.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import numpy as np
import plotly.graph_objects as go
from picture import ROOT, lay_out, save
from plotly.subplots import make_subplots

WIDTH, HEIGHT = 1240, 680
LEAST = 0.005
"""Regret below which none is told apart."""
COLORS = (
    "#0d7a66",
    "#c2571a",
    "#5b6b7d",
    "#3b6fb6",
    "#a03a6a",
    "#8a7a2f",
    "#222222",
    "#7fb069",
    "#6a4c93",
    "#e0a100",
)


def panels(arms: list[str]) -> dict[str, list[str]]:
    """Arms that are told apart by their sampler, and those by what becomes of trials that are behind."""
    ours = [arm for arm in arms if arm.startswith("prior+")]
    orders = {arm.split("+", 1)[1] for arm in ours}
    order = next((name for name in ("promote", "asha", "none") if name in orders), None)
    theirs = (order, "hyperband", "hyperband+cold")
    samplers = [arm for arm in arms if arm.split("+", 1)[1] in theirs and arm not in ours[1:]]
    return {"samplers": samplers, "what becomes of trials that are behind": ours}


def draw(document: dict[str, Any]) -> go.Figure:
    """Both panels, of regret by validation and below by test."""
    curves, moments = document["curves"], document["trainings"]
    chosen = {title: arms for title, arms in panels(list(curves)).items() if arms}
    colors = dict(zip(dict.fromkeys(arm for arms in chosen.values() for arm in arms), COLORS, strict=False))
    picture = make_subplots(
        2, len(chosen), subplot_titles=list(chosen), horizontal_spacing=0.05, vertical_spacing=0.07,
        shared_yaxes=True, shared_xaxes=True,
    )  # fmt: skip
    shown = set[str]()
    for column, arms in enumerate(chosen.values(), start=1):
        for arm in (arm for arm in arms if arm in colors):
            for row, of in enumerate(("validation", "test"), start=1):
                mean = np.mean([task[of] for task in curves[arm].values()], axis=0)
                picture.add_scatter(
                    x=moments, y=np.maximum(mean, LEAST), mode="lines", name=arm, showlegend=arm not in shown,
                    line={"color": colors[arm], "width": 2, "shape": "hv"}, row=row, col=column,
                )  # fmt: skip
                shown.add(arm)
    ticks = [0.01, 0.03, 0.1, 0.3, 1]
    picture.update_yaxes(
        type="log", range=[float(np.log10(LEAST)), 0.02], tickvals=ticks, ticktext=[f"{t:g}" for t in ticks]
    )
    for row, of in enumerate(("validation", "test"), start=1):
        picture.update_yaxes(title_text=f"mean regret by {of}", row=row, col=1)
    picture.update_xaxes(
        type="log", range=[-1, float(np.log10(moments[-1]))], tickvals=[0.1, 0.3, 1, 3, 10],
        ticktext=["0.1", "0.3", "1", "3", "10"], gridcolor="#e6e8eb", zeroline=False,
    )  # fmt: skip
    picture.update_xaxes(title_text="time, in whole trainings of the task's median strategy", row=2)
    lay_out(picture, WIDTH, HEIGHT)
    return picture


def main() -> None:
    source = Path(sys.argv[1])
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "images" / "replay.png"
    save(draw(json.loads(source.read_text(encoding="utf-8"))), target)


if __name__ == "__main__":
    main()
