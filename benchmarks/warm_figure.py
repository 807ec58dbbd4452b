"""The picture of `warm.py`: how many searches are there, as time passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from picture import lay_out, save

WIDTH, HEIGHT = 1000, 420
COLORS = {
    "cold": "#5b6b7d", "TPE": "#c9ced6", "random": "#8a7a2f", "i-Epoch": "#c2571a", "warm": "#0d7a66",
    "similar": "#3b6fb6", "shuffled": "#a03a6a", "anything": "#7fb069", "oracle": "#222222",
    "adversarial": "#b91c1c",
}  # fmt: skip


def draw(
    found: Mapping[tuple[str, str], Any], arms: Sequence[str], tasks: Sequence[str], target: Path
) -> None:
    """The share of searches that are there, over tasks and seeds; time over the task's cold one, geometric mean."""
    times = np.geomspace(0.05, 20, 200)
    picture = go.Figure()
    for arm in arms:
        shares = []
        for task in tasks:
            usual = np.exp(np.mean(np.log(found["cold", task].seconds)))
            mine = found[arm, task]
            over = np.where(mine.there, mine.seconds / usual, np.inf)
            shares.append([(over <= time + 1e-9).mean() for time in times])
        style = {"color": COLORS[arm], "width": 3 if arm in ("cold", "warm") else 1.8, "shape": "hv"}
        if arm in ("oracle", "adversarial"):
            style["dash"] = "dot"
        picture.add_scatter(x=times, y=np.mean(shares, axis=0), mode="lines", name=arm, line=style)
    picture.update_yaxes(range=[0, 1.02], tickformat=".0%", title_text="searches there")
    picture.update_xaxes(
        type="log", tickvals=[0.1, 0.25, 1, 4, 10], ticktext=["0.1", "1/4", "as long as cold", "4 x", "10 x"],
        gridcolor="#e6e8eb", zeroline=False,
    )  # fmt: skip
    lay_out(picture, WIDTH, HEIGHT)
    save(picture, target)
