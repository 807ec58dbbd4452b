"""`automl-transfer explore`: what is in a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli.options import (
    CacheOption,
    DataRootOption,
    DeviceOption,
    GroupFromOption,
    JsonOption,
    console,
    print_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from automl_transfer.data.explore import Exploration


def run(
    what: Annotated[
        str, typer.Argument(metavar="DATASET|STUDY.toml", help="Registered name, folder, .npz or study file.")
    ],
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="PNG", help="Write a contact sheet of every class.")
    ] = None,
    group_from: GroupFromOption = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of the study file.")
    ] = None,
    data_root: DataRootOption = None,
    cache: CacheOption = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Compare the study's sources with the dataset, cut by cut.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="HTML", help="Draw the profile: accuracy over cuts.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Describe a dataset: balance, sizes, channels, duplicates, unreadable files; compare sources with it.

    \b
    $ automl-transfer explore digits --sheet digits.png
    digits: 1,797 images in 10 classes; 1,079 / 359 / 359 to train, validate and test
    """
    from rich.progress import Progress

    from automl_transfer.cli.profile_table import draw_page, print_profile
    from automl_transfer.data.contact_sheet import write_contact_sheet
    from automl_transfer.data.explore import explore
    from automl_transfer.domain.conditions import is_pretrained
    from automl_transfer.space.space import Space
    from automl_transfer.space.study_of import study_spec

    spec = study_spec(what, "quick", settings or [], task__group_from=group_from)
    screen = console()
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("images", total=None)

        def progress(step: str, done: int, total: int) -> None:
            bar.update(task, description=step, completed=done, total=total)

        found, loaded = explore(spec.task, data_root=data_root, cache_root=cache, progress=progress)
        profiles = []
        if profile or figure is not None:
            from automl_transfer.api.profiling import profile_sources

            sources = [
                name for name in Space.from_settings(spec.space).sources if is_pretrained({"source": name})
            ]
            profiles = profile_sources(loaded, sources, device=device, cache_root=cache, on_source=progress)
    if sheet is not None:
        write_contact_sheet(loaded, sheet)
    if figure is not None:
        draw_page(profiles, figure)
    if as_json:
        records = [each.record.model_dump(mode="json") for each in profiles]
        facts = found.model_dump(mode="json") | ({"profiles": records} if profiles else {})
        print_json(facts)
        return
    _print(screen, found)
    for each in profiles:
        print_profile(screen, each)
    if figure is not None:
        screen.print(f"wrote {figure}", markup=False)
    if sheet is not None:
        screen.print(f"wrote {sheet}", markup=False)


def _print(screen: Console, found: Exploration) -> None:
    from rich.table import Table
    from rich.text import Text

    from automl_transfer.reporting.plain import plain

    splits = found.task.splits
    screen.print(
        f"{plain(found.task.name)}: {found.images:,} images in {len(found.classes)} classes; "
        f"{splits.train:,} / {splits.validation:,} / {splits.test:,} to train, validate and test"
        + (f"; {found.unused:,} in no split" if found.unused else ""),
        markup=False,
    )
    low, middle, high = found.sizes.width
    tall = found.sizes.height
    screen.print(
        f"sizes: width {low} to {high} (median {middle:g}), "
        f"height {tall[0]} to {tall[2]} (median {tall[1]:g}); "
        f"used at {found.task.resolution} pixels, {'gray' if found.task.channels == 1 else 'RGB'}"
    )
    means = ", ".join(f"{value:.3f}" for value in found.task.channel_mean)
    deviations = ", ".join(f"{value:.3f}" for value in found.task.channel_std)
    screen.print(f"channels (training split): mean {means}; standard deviation {deviations}", markup=False)
    screen.print(f"imbalance: the largest class has {found.imbalance:.1f} times the images of the smallest")
    twins = found.duplicates
    screen.print(
        f"exact duplicates: {twins.within_splits} within splits, {twins.across_splits} across splits"
        + (" (these make test scores too good)" if twins.across_splits else "")
    )
    for group in twins.groups[:5]:
        screen.print(Text("  " + " = ".join(plain(key) for key in group.keys[:4])))
    table = Table(box=None, pad_edge=False)
    for column in ("class", "train", "validation", "test"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in found.classes[:50]:
        table.add_row(Text(plain(row.name)), f"{row.train:,}", f"{row.validation:,}", f"{row.test:,}")
    screen.print(table)
    if len(found.classes) > 50:
        screen.print(f"and {len(found.classes) - 50} more classes (--json lists all)")
    for bad in found.skipped:
        screen.print(Text(f"not used: {plain(bad.key)}: {plain(bad.reason)}"), style="red")
