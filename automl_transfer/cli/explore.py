"""`automl-transfer explore`: what is in a dataset, and how sources compare with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import columns_of
from automl_transfer.cli.screen import console, print_json, watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from automl_transfer.api.profiling import SourceProfile
    from automl_transfer.data.explore import Exploration
    from automl_transfer.domain.task import Task


def run(
    what: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|STUDY.toml", help="Name, folder, .npz, table of labels or study file."
        ),
    ],
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="PNG", help="Write a contact sheet of every class.")
    ] = None,
    images: options.Images = None,
    columns: options.Columns = None,
    group_from: options.GroupFrom = None,
    classes_from: options.ClassesFrom = None,
    split_from: options.SplitFrom = None,
    rare_classes: options.RareClasses = None,
    min_per_class: options.MinPerClass = None,
    exclude: options.Exclude = None,
    settings: options.Settings = None,
    data_root: options.DataRoot = None,
    cache: options.Cache = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Compare the study's sources with the dataset, cut by cut.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="HTML", help="Draw the profile: accuracy over cuts.")
    ] = None,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Look for copies, wrong labels, shortcuts, backdoors, outliers.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Of --doctor: a page, and lists for --exclude."),
    ] = None,
    device: options.Device = "auto",
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
    as_json: options.Json = False,
) -> None:
    """Describe a dataset: balance, sizes, duplicates, what became of every file; compare sources with it.

    Where there is a store, the tasks in it that are most like this one are listed, with what won there.

    What a search would refuse is said, and is no error here.

    \b
    $ automl-transfer explore digits --sheet digits.png
    digits: 1,797 images in 10 classes; 1,079 / 359 / 359 to train, validate and test
    """
    from rich.progress import Progress

    from automl_transfer.api.comparing import compare_task
    from automl_transfer.cli.comparing import draw_page, print_comparison, print_scores, store_to_read
    from automl_transfer.data.contact_sheet import refuse_inside, write_contact_sheet
    from automl_transfer.data.explore import explore
    from automl_transfer.domain.dimensions import is_pretrained
    from automl_transfer.errors import ConfigurationError
    from automl_transfer.recipes.output import check_files
    from automl_transfer.space.space import Space
    from automl_transfer.space.study_file import study_spec

    spec = study_spec(
        what,
        None,
        settings or [],
        data_root=data_root,
        task__images=images,
        task__columns=columns_of(columns),
        task__group_from=group_from,
        task__classes_from=classes_from,
        task__split_from=split_from,
        task__rare_classes=rare_classes,
        task__min_per_class=min_per_class,
        task__exclude=exclude,
    )
    if doctor:
        if profile or sheet is not None or figure is not None:
            raise ConfigurationError(
                "--doctor is a look of its own, got --profile, --figure or --sheet with it: give them apart"
            )
        from automl_transfer.cli.doctor import run_doctor

        run_doctor(spec, output=output, device=device, data_root=data_root, cache=cache, as_json=as_json)
        return
    if output is not None:
        raise ConfigurationError("--output is of --doctor, got it without: leave it out, or add --doctor")
    check_files(figure, sheet, makes_folders=True)
    if sheet is not None:
        refuse_inside(sheet, spec.task, data_root)
    screen = console()
    shown = console(stderr=True)
    bars = Progress(console=shown, transient=True, disable=not watched(shown))
    with store_to_read(storage, storage_file) as store, bars as bar:
        task = bar.add_task("images", total=None)

        def progress(step: str, done: int, total: int) -> None:
            bar.update(task, description=step, completed=done, total=total)

        found, loaded = explore(spec.task, data_root=data_root, cache_root=cache, progress=progress)
        profiles = []
        if loaded is not None and (profile or figure is not None):
            from automl_transfer.api.profiling import profile_sources
            from automl_transfer.search.auto_sources import candidates, is_auto, with_sources

            if is_auto(spec):
                spec = with_sources(spec, candidates(spec, accelerated=device.startswith("cuda")))
            sources = [
                name for name in Space.from_settings(spec.space).sources if is_pretrained({"source": name})
            ]
            profiles = profile_sources(loaded, sources, device=device, cache_root=cache, on_source=progress)
        compared = None if loaded is None else compare_task(loaded, [each.record for each in profiles], store)
    if loaded is None:
        asked = (("--sheet", sheet), ("--figure", figure), ("--profile", profile or None))
        if dropped := [option for option, value in asked if value is not None]:
            typer.echo(f"{', '.join(dropped)} left out: there is no task to show", err=True)
        sheet = figure = None
    if loaded is not None and sheet is not None:
        write_contact_sheet(loaded, sheet)
    if figure is not None:
        draw_page(profiles, figure)
    if as_json:
        records = [each.record.model_dump(mode="json") for each in profiles]
        for record, each in zip(records, profiles, strict=True):
            record["resolutions"] = [dataclasses.asdict(at) for at in each.resolutions]
        facts = found.model_dump(mode="json") | ({"profiles": records} if profiles else {})
        facts |= {} if compared is None else compared.facts()
        print_json(facts)
        return
    _print(screen, found)
    for each in profiles:
        print_profile(screen, each)
        print_scores(screen, each.record)
    if compared is not None:
        print_comparison(screen, compared, profiled=bool(profiles), stored=store is not None)
    if figure is not None:
        screen.print(f"wrote {figure}", markup=False)
    if sheet is not None:
        screen.print(f"wrote {sheet}", markup=False)


def _print(screen: Console, found: Exploration) -> None:
    from rich.text import Text

    from automl_transfer.reporting.plain import plain

    if found.task is None:
        images = sum(each.images for each in found.folders)
        screen.print(f"{plain(found.name)}: {images:,} images, which make no task as they lie", markup=False)
        _table(screen, ("folder", "images"), [(each.name, each.images) for each in found.folders])
    else:
        _print_task(screen, found, found.task)
    for line in found.account.lines():
        screen.print(Text(plain(line, 1000)), soft_wrap=True)
    for finding in found.findings:
        screen.print(Text(f"a search would refuse this: {plain(finding, 2000)}", style="red"), soft_wrap=True)


def _print_task(screen: Console, found: Exploration, task: Task) -> None:
    from rich.text import Text

    from automl_transfer.reporting.plain import plain

    assert found.sizes is not None
    assert found.duplicates is not None
    splits = task.splits
    screen.print(
        f"{plain(task.name)}: {found.images:,} images in {len(found.classes)} classes; "
        f"{splits.train:,} / {splits.validation:,} / {splits.test:,} to train, validate and test"
        + (f"; {found.unused:,} in no split" if found.unused else ""),
        markup=False,
    )
    low, middle, high = found.sizes.width
    tall = found.sizes.height
    screen.print(
        f"sizes: width {low} to {high} (median {middle:g}), "
        f"height {tall[0]} to {tall[2]} (median {tall[1]:g}); "
        f"used at {task.resolution} pixels, {'gray' if task.channels == 1 else 'RGB'}"
    )
    if task.pixel_range is not None:
        screen.print(f"range of the numbers (black to white): {task.pixel_range}", markup=False)
    means = ", ".join(f"{value:.3f}" for value in task.channel_mean)
    deviations = ", ".join(f"{value:.3f}" for value in task.channel_std)
    screen.print(f"channels (training split): mean {means}; standard deviation {deviations}", markup=False)
    screen.print(f"imbalance: the largest class has {found.imbalance:.1f} times the images of the smallest")
    twins = found.duplicates
    screen.print(
        f"exact duplicates: {twins.within_splits} within splits, {twins.across_splits} across splits"
        + (" (these make test scores too good)" if twins.across_splits else "")
        + (f"; {twins.conflicting} with different labels" if twins.conflicting else "")
    )
    for group in twins.groups[:5]:
        labels = sorted(set(group.classes))
        screen.print(
            Text(
                "  "
                + " = ".join(plain(key) for key in group.keys[:4])
                + (f" (labels: {', '.join(plain(label) for label in labels[:4])})" if len(labels) > 1 else "")
            )
        )
    rows = [(row.name, row.train, row.validation, row.test) for row in found.classes]
    _table(screen, ("class", "train", "validation", "test"), rows)


def _table(screen: Console, columns: Sequence[str], rows: Sequence[tuple[str | int, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from automl_transfer.reporting.plain import plain

    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for name, *counts in rows[:50]:
        table.add_row(Text(plain(str(name))), *(f"{count:,}" for count in counts))
    screen.print(table)
    if len(rows) > 50:
        screen.print(f"and {len(rows) - 50} more (--json lists all)")


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
    for at in profile.resolutions if len(profile.resolutions) > 1 else ():
        enlarged = "" if at.scale == 1.0 else f", the task's images x{at.scale:g}"
        enlarged += " in the files' detail" if at.detail else ""
        screen.print(
            f"at {at.pixels} pixels{enlarged}: {100 * at.accuracy:.1f} at best on one cut, "
            f"{at.milliseconds:.2f} ms an image",
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
