"""Leaves pages out of the navigation that are named in mkdocs.yml but not written yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Called by MkDocs once its configuration is read."""
    config.nav = _existing(config.nav, Path(config.docs_dir))
    return config


def _existing(entry: Any, docs: Path) -> Any:
    """A navigation entry (a page, a titled page, a section, a list of them) without missing pages."""
    if isinstance(entry, list):
        kept = (_existing(each, docs) for each in entry)
        return [each for each in kept if each not in (None, [], {})]
    if isinstance(entry, dict):
        return {title: kept for title, each in entry.items() if (kept := _existing(each, docs))}
    return entry if (docs / entry).is_file() else None
