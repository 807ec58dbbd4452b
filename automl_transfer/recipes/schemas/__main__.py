"""Writes the newest schemas from the models: into the package, and into the docs of a checkout."""

from pathlib import Path

from automl_transfer.recipes.schemas import NEWEST, generated

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[2] / "docs" / "schemas"):
    if folder.is_dir():
        for name in NEWEST:
            (folder / name).write_text(generated(name), encoding="utf-8")
