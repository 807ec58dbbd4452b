"""How `explore --profile` shows what a solved head reaches at every cut of a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from automl_transfer.api.profiling import SourceProfile

BAR = 12


def print_profile(screen: Console, profile: SourceProfile) -> None:
    """A row a cut: accuracy at each grid and resolution, and a bar of the best."""
    from rich.table import Table

    from automl_transfer.reporting.plain import plain

    record = profile.record
    columns = sorted({(cut.resolution_scale, cut.grid) for cut in record.cuts})
    cells = {(cut.cut, cut.resolution_scale, cut.grid): cut.loo_accuracy for cut in record.cuts}
    best = {cut: max(v for (c, *_), v in cells.items() if c == cut) for cut, *_ in cells}
    low = min(best.values())
    span = max(best.values()) - low or 1.0
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.title = (
        f"{plain(record.source)}: accuracy of a solved head by leave-one-out on {record.images:,} training "
        f"images, {record.seconds:.1f} s"
    )
    table.add_column("after group", justify="right")
    for scale, grid in columns:
        images = f"\nx{scale:g}" if scale != 1.0 else "\n"
        table.add_column(f"{grid}x{grid}{images}", justify="right")
    table.add_column("best of them", no_wrap=True)
    for cut in sorted(best):
        shown = [
            f"{100 * v:.1f}" if (v := cells.get((cut, *column))) is not None else "" for column in columns
        ]
        table.add_row(str(cut), *shown, "#" * (1 + round((BAR - 1) * (best[cut] - low) / span)))
    screen.print()
    screen.print(table)
    if record.warning:
        screen.print(record.warning, markup=False)
    for number, joint in enumerate(record.joint[:3]):
        screen.print(
            f"{'several outputs: ' if number == 0 else ' ' * 17}{100 * joint.loo_accuracy:.1f} {joint.where}",
            markup=False,
        )
    if record.best is not None:
        screen.print(f"chosen: {plain(profile.strategy.describe())}", markup=False)
        winner, whole = profile.winner, profile.whole
        screen.print(
            f"its size: {winner.parameters:,} of {whole.parameters:,} parameters; "
            f"{winner.milliseconds:.2f} ms an image, the whole source {whole.milliseconds:.2f} ms",
            markup=False,
        )


def draw_page(profiles: Sequence[SourceProfile], path: Path) -> None:
    """One self-contained page with the profile's figure.

    Raises:
        OutputError: It cannot be written.
    """
    from automl_transfer.recipes.output import write_text
    from automl_transfer.reporting.figures.profile import FIGURE, draw_profiles

    figure = draw_profiles([profile.record for profile in profiles])
    figure.update_layout(title={"text": FIGURE.title, "y": 0.97}, margin={"t": 120}, height=560)
    write_text(path, figure.to_html(include_plotlyjs=True, full_html=True))
