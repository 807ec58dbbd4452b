"""Writes the newest schema from the models: into the package, and into the docs of a checkout."""

from pathlib import Path

from automl_transfer.recipes.schemas import PUBLISHED, generated

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[2] / "docs" / "schemas"):
    if folder.is_dir():
        for name, model in PUBLISHED.items():
            (folder / name).write_text(generated(model), encoding="utf-8")
