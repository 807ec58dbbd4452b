"""The race as a picture: test accuracy of the incumbent over time, one panel a task.

    python benchmarks/race/figure.py [FILE.png]

From the recorded cells and those of the last race; drawn by the Chromium that the tests of pages use.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from race import HERE, MINUTES, read_cells
from tasks import TASKS

sys.path.insert(1, str(HERE.parents[1] / "tests"))
from chromium import launched

from automl_transfer.reporting.figures.base import GRAY, GREEN

ROOT = HERE.parents[1]
WIDTH, HEIGHT = 1240, 330
TITLES = {
    "digits-20": "digits, 20 a class", "mnist5k": "mnist5k", "mnist5k-20": "mnist5k, 20 a class",
    "textures-16": "textures", "stamps-128": "photographs",
}  # fmt: skip


def steps(curve: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Seconds and test accuracy of an incumbent, up to the end of the budget."""
    seconds = [point["seconds"] for point in curve] + [60 * MINUTES]
    accuracies = [point["test"] for point in curve]
    return seconds, [*accuracies, accuracies[-1]]


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
                x, y = steps(cell["curve"])
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
    picture.update_yaxes(gridcolor="#e6e8eb", zeroline=False)
    picture.update_layout(
        template="none", width=WIDTH, height=HEIGHT, margin={"l": 48, "r": 12, "t": 64, "b": 36},
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#3d4550"}, paper_bgcolor="white",
        legend={"orientation": "h", "x": 0, "y": 1.16, "yanchor": "bottom", "font": {"size": 14}},
    )  # fmt: skip
    return picture


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "race.png"
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        page_file = Path(folder, "race.html")
        draw(HERE / "recorded", HERE / "data").write_html(page_file, config={"staticPlot": True})
        page = browser.new_page(viewport={"width": WIDTH + 16, "height": HEIGHT + 16}, device_scale_factor=2)
        page.goto(page_file.as_uri())
        page.locator(".plotly-graph-div .main-svg").first.wait_for()
        page.locator(".plotly-graph-div").screenshot(path=target)
    print(f"wrote {target.name}")


if __name__ == "__main__":
    main()
