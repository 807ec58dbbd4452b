"""The race as a picture: test accuracy of the incumbent over time, one panel a task.

    python benchmarks/race/figure.py [FILE.png]

From the recorded cells and those of the last race; drawn by the Chromium that the tests of pages use.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import plotly.graph_objects as go
from picture import ROOT, lay_out, save, steps
from plotly.subplots import make_subplots
from race import HERE, MINUTES, read_cells
from tasks import TASKS

from automl_transfer.reporting.figures.base import GRAY, GREEN

WIDTH, HEIGHT = 1240, 330
TITLES = {
    "digits-20": "digits, 20 a class", "mnist5k": "mnist5k", "mnist5k-20": "mnist5k, 20 a class",
    "textures-16": "textures", "stamps-128": "photographs",
}  # fmt: skip


def draw(recorded: Path, results: Path) -> go.Figure:
    """Every seed as a line."""
    peers, ours = read_cells(recorded, "peer"), read_cells(results, "ours")
    both = {task for task, _ in peers} & {task for task, _ in ours}
    tasks = [task for task in TASKS if task in both]
    titles = [TITLES[task] for task in tasks]
    picture = make_subplots(1, len(tasks), subplot_titles=titles, horizontal_spacing=0.035)
    for column, task in enumerate(tasks, start=1):
        lowest = 1.0
        for cells, name, color in ((peers, "plain Optuna", GRAY), (ours, "automl-transfer", GREEN)):
            shown = column == 1
            for (_, _seed), cell in sorted((key, cell) for key, cell in cells.items() if key[0] == task):
                x, y = steps(cell["curve"], 60 * MINUTES)
                lowest = min(lowest, y[-1])
                picture.add_scatter(
                    x=x, y=y, mode="lines", name=name, legendgroup=name, showlegend=shown, row=1, col=column,
                    line={"shape": "hv", "color": color, "width": 2.5}, opacity=0.9,
                )  # fmt: skip
                shown = False
        picture.update_yaxes(range=[lowest - 0.12, 1.005], tickformat=".0%", row=1, col=column)
    picture.update_xaxes(
        type="log", range=[0.4, 2.97], tickvals=[3, 15, 60, 300, 900],
        ticktext=["3 s", "15", "1 min", "5", "15"], gridcolor="#e6e8eb", zeroline=False,
    )  # fmt: skip
    lay_out(picture, WIDTH, HEIGHT)
    return picture


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "race.png"
    save(draw(HERE / "recorded", HERE / "data"), target)


if __name__ == "__main__":
    main()
