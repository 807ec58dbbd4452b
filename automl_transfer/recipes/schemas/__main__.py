"""Writes the newest schema from the models: into the package, and into the docs of a checkout."""

from pathlib import Path

from automl_transfer.recipes.best_strategy import SCHEMA_VERSION
from automl_transfer.recipes.schemas import generated

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[2] / "docs" / "schemas"):
    if folder.is_dir():
        (folder / f"recipe-{SCHEMA_VERSION}.json").write_text(generated(), encoding="utf-8")
