"""The photographs as a picture: test accuracy of the incumbent over time, one panel a task.

    python benchmarks/photos/figure.py [FILE.png] [--cells FOLDER]

Every seed as a line; a peer that answers once is a point.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import plotly.graph_objects as go
from photos import SCRIPTS, Cells, read_cells
from picture import ROOT, lay_out, save, steps
from plotly.subplots import make_subplots
from tasks import MINUTES, TASKS, folder_of

from automl_transfer.reporting.figures.base import GREEN

WIDTH, HEIGHT, COLUMNS = 1240, 620, 3
LOOKS = {
    "recipe10": ("plain recipe, 10 epochs", "#9aa3ad", "dot"),
    "recipe": ("plain recipe, all the time", "#5b6570", "solid"),
    "fastai": ("fastai", "#d08a2e", "solid"),
    "features": ("features and logistic regression", "#8a63b8", "solid"),
    "optuna": ("plain Optuna", "#4c86c6", "solid"),
    "ours": ("automl-transfer", GREEN, "solid"),
}
TICKS = {10: "10 s", 60: "1 min", 300: "5", 1200: "20"}


def draw(cells: Cells) -> go.Figure:
    """The tasks that have cells."""
    tasks = [task for task in TASKS if any(key[0] == task for key in cells)]
    rows = -(-len(tasks) // COLUMNS)
    picture = make_subplots(
        rows, min(COLUMNS, len(tasks)), subplot_titles=[TASKS[task].title for task in tasks],
        horizontal_spacing=0.045, vertical_spacing=0.12,
    )  # fmt: skip
    named: set[str] = set()
    for place, task in enumerate(tasks):
        at = {"row": place // COLUMNS + 1, "col": place % COLUMNS + 1}
        lowest = 1.0
        for arm, (name, color, dash) in LOOKS.items():
            for (_, _, _seed), cell in sorted((k, c) for k, c in cells.items() if k[:2] == (task, arm)):
                x, y = steps(cell["curve"], cell["seconds"])
                lowest = min(lowest, y[-1])
                once = arm == "features"
                picture.add_scatter(
                    x=x[-1:] if once else x, y=y[-1:] if once else y, mode="markers" if once else "lines",
                    name=name, legendgroup=name, showlegend=name not in named,
                    line={"shape": "hv", "color": color, "width": 3 if arm == "ours" else 1.5, "dash": dash},
                    opacity=0.9 if arm == "ours" else 0.75,
                    marker={"color": color, "size": 9, "symbol": "diamond"}, **at,
                )  # fmt: skip
                named.add(name)
        picture.update_yaxes(range=[max(0.0, lowest - 0.12), 1.005], tickformat=".0%", **at)
    picture.update_xaxes(
        type="log", range=[0.7, 3.12], tickvals=list(TICKS), ticktext=list(TICKS.values()),
        gridcolor="#e6e8eb", zeroline=False,
    )  # fmt: skip
    lay_out(picture, WIDTH, HEIGHT if rows > 1 else HEIGHT // 2 + 20)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", nargs="?", type=Path, default=ROOT / "docs" / "images" / "photos.png")
    parser.add_argument("--cells", type=Path, default=folder_of(MINUTES, None))
    options = parser.parse_args()
    cells = read_cells(options.cells)
    if not cells:
        sys.exit(f"no cell is in {options.cells.name}/: record some with photos.py --record")
    assert set(LOOKS) == set(SCRIPTS)
    save(draw(cells), options.target)


if __name__ == "__main__":
    main()
