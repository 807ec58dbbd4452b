"""`automl-transfer knowledge`: what studies learnt about strategies, as a file that teams can share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import open_store
from automl_transfer.cli.screen import console, print_json

if TYPE_CHECKING:
    from automl_transfer.knowledge.document import Knowledge, KnownTask

app = typer.Typer(
    help="Export, import and show what earlier studies tell of strategies: ranks, no images, no names.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
BEST = 3
"""Strategies of a task that are shown."""


@app.command("export")
def export(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY...]", help="Names; by default all of the store.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")] = Path(
        "knowledge.json"
    ),
    names: Annotated[
        bool, typer.Option("--names", help="Keep names of datasets, source files and plugins' methods.")
    ] = False,
    storage: options.Storage = None,
    storage_file: options.StorageFile = None,
) -> None:
    """Write what studies learnt: signatures of tasks, strategies with their ranks, short curves.

    \b
    $ automl-transfer knowledge export -o team.json
    wrote team.json: 2 tasks, 12 strategies, no names
    """
    from automl_transfer.api.knowledge import knowledge_of
    from automl_transfer.knowledge.reading import usable
    from automl_transfer.recipes.output import check_files, write_text

    check_files(output)
    with open_store(storage, storage_file, create=False, read_only=True) as store:
        known = knowledge_of(store, studies or (), names=names)
    write_text(output, known.to_json())
    said = usable(known, str(output)).summary()
    console().print(
        f"wrote {output}: {said}, {'with' if names else 'no'} names", markup=False, soft_wrap=True
    )


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of knowledge.")],
) -> None:
    """Add a file to your own knowledge: searches to come begin with what it proposes.

    \b
    $ automl-transfer knowledge import team.json
    added 2 tasks, 12 strategies: searches of yours begin with what they propose
    """
    from automl_transfer.knowledge.library import add

    added = add(file)
    if added.new:
        said = f"added {added.read.summary()}: searches of yours begin with what they propose"
    else:
        said = f"nothing added: {added.read.summary()}, all of it known already"
    console().print(said, markup=False, soft_wrap=True)


@app.command("show")
def show(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="By default all that a search here begins with.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show what is known of tasks, and what won there.

    \b
    $ automl-transfer knowledge show
    task       known from  images  classes  pixels  strategies  best
    digits-20  shipped        200       10      32          24  ...
    """
    from rich.table import Table
    from rich.text import Text

    from automl_transfer.printable import visible

    known = _known(file)
    if as_json:
        print_json([{"from": origin, **_facts(task, name)} for origin, name, task in known])
        return
    if not known:
        console().print("nothing is known of any task")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("task", "known from"):
        table.add_column(column, overflow="fold")
    for column in ("images", "classes", "pixels", "strategies"):
        table.add_column(column, justify="right")
    table.add_column("best", overflow="fold", ratio=1)
    for origin, name, task in known:
        facts = _facts(task, name)
        numbers = [facts[key] for key in ("images", "classes", "pixels")]
        shown = ["-" if number is None else f"{number:,}" for number in numbers]
        best = facts["best"][0]["strategy"] if facts["best"] else ""
        table.add_row(Text(visible(name)), origin, *shown, str(facts["strategies"]), Text(visible(best)))
    console().print(table)


def _known(file: Path | None) -> list[tuple[str, str, KnownTask]]:
    from automl_transfer.knowledge import library
    from automl_transfer.knowledge.reading import read_knowledge

    if file is not None:
        return _tasks(str(file), file.stem, read_knowledge(file).knowledge)
    own = [task for path, each in library.imported() for task in _tasks("imported", path.stem, each)]
    return [*own, *_tasks("shipped", "shipped", library.shipped())]


def _tasks(origin: str, stem: str, knowledge: Knowledge) -> list[tuple[str, str, KnownTask]]:
    named = enumerate(knowledge.tasks, start=1)
    return [(origin, task.name or f"{stem}, task {number}", task) for number, task in named]


def _facts(task: KnownTask, name: str) -> dict[str, Any]:
    signature = task.signature
    best = sorted(task.strategies, key=lambda each: -each.rank)[:BEST]
    return {
        "task": name,
        "images": None if signature is None else signature.images,
        "classes": None if signature is None else signature.classes,
        "pixels": None if signature is None else signature.resolution,
        "strategies": len(task.strategies),
        "best": [{"rank": each.rank, "strategy": each.strategy.strategy().describe()} for each in best],
    }
