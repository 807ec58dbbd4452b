"""Fills the reference from the code itself: its text takes the place of <!-- generated: NAME -->."""

from __future__ import annotations

import re
from typing import Any

import code_facts
import command_pages
import model_tables

MAKERS = {
    "commands": command_pages.commands,
    "study file": model_tables.study_file,
    "dimensions": model_tables.dimensions,
    "best-strategy keys": model_tables.best_strategy,
    "best-strategy schemas": model_tables.schemas,
    "error tree": code_facts.error_tree,
    "storeys": code_facts.storeys,
    "datasets": code_facts.datasets,
    "sources": code_facts.sources,
}
MARK = re.compile(r"^<!-- generated: (.+?) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Called by MkDocs for each page before its Markdown becomes HTML."""
    return MARK.sub(lambda found: MAKERS[found[1]](), markdown)
