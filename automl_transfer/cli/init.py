"""`automl-transfer init`: writes a study file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.options import columns_of


def run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The study file to write, e.g. studies/cats.toml.")
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", help="Registered name, folder, .npz or table of labels.")
    ] = "digits",
    images: options.Images = None,
    columns: options.Columns = None,
    preset: Annotated[str, typer.Option("--preset", help="quick, core or best.")] = "quick",
) -> None:
    """Write a study file.

    \b
    $ automl-transfer init studies/cats.toml --dataset photos/cats
    wrote studies/cats.toml: edit it, then run 'automl-transfer search studies/cats.toml'
    """
    import json
    import re

    from automl_transfer.errors import OutputError
    from automl_transfer.files import whole_file
    from automl_transfer.recipes.output import is_taken
    from automl_transfer.space.study_file import preset_path, read_study

    if file.suffix != ".toml":
        raise OutputError(f"a study file must end in .toml, got {file.name!r}")
    if is_taken(file):
        raise OutputError(f"the study file must not exist yet, got {file}: choose another name or remove it")
    text = preset_path(preset).read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", f"# automl-transfer search {file.as_posix()}\n", text, count=1)
    name = json.dumps(file.stem, ensure_ascii=False)
    text = re.sub(r"^name = .*$", lambda _: f"name = {name}", text, count=1, flags=re.MULTILINE)
    task = f"dataset = {json.dumps(dataset, ensure_ascii=False)}"
    if images is not None:
        task += f"\nimages = {json.dumps(images, ensure_ascii=False)}"
    if named := columns_of(columns):
        pairs = (f"{role} = {json.dumps(column, ensure_ascii=False)}" for role, column in named.items())
        task += f"\ncolumns = {{ {', '.join(pairs)} }}"
    text = re.sub(r"^dataset = .*$", lambda _: task, text, count=1, flags=re.MULTILINE)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
            read_study(temporary)
    except OSError as error:
        raise OutputError(f"{file} must be writable, got: {error.strerror}") from None
    typer.echo(f"wrote {file}: edit it, then run 'automl-transfer search {file}'")
