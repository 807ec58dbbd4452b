"""Pictures of benchmarks for the documentation, drawn by the Chromium that the tests of pages use."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import plotly.graph_objects as go
from chromium import launched

ROOT = Path(__file__).resolve().parents[1]


def steps(curve: list[dict[str, Any]], end: float) -> tuple[list[float], list[float]]:
    """Seconds and test accuracy of an incumbent, up to the end of the budget."""
    seconds = [point["seconds"] for point in curve]
    accuracies = [point["test"] for point in curve]
    return [*seconds, max(end, seconds[-1])], [*accuracies, accuracies[-1]]


def lay_out(figure: go.Figure, width: int, height: int) -> None:
    """As all of them look."""
    figure.update_yaxes(gridcolor="#e6e8eb", zeroline=False, automargin=True)
    figure.update_layout(
        template="none", width=width, height=height, margin={"l": 48, "r": 12, "t": 64, "b": 36},
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#3d4550"}, paper_bgcolor="white",
        legend={"orientation": "h", "x": 0, "y": 1 + 53 / height, "yanchor": "bottom", "font": {"size": 14}},
    )  # fmt: skip


def save(figure: go.Figure, target: Path) -> None:
    """Write a PNG at twice its size."""
    width, height = figure.layout.width, figure.layout.height
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        page_file = Path(folder, "figure.html")
        figure.write_html(page_file, config={"staticPlot": True})
        page = browser.new_page(viewport={"width": width + 16, "height": height + 16}, device_scale_factor=2)
        page.goto(page_file.as_uri())
        page.locator(".plotly-graph-div .main-svg").first.wait_for()
        page.locator(".plotly-graph-div").screenshot(path=target)
    print(f"wrote {target.name}")
