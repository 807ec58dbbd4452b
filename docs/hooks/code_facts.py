"""Facts that the code states in one place, as tables."""

from __future__ import annotations

import ast
from pathlib import Path

from pieces import block, code, table

from automl_transfer import errors
from automl_transfer.data.registry import COMMON_OPTIONS, KINDS
from automl_transfer.models.registry import list_sources

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "automl_transfer"
LAYERING = ROOT / "tests" / "test_layering.py"


def error_tree() -> str:
    """The exception tree as errors.py draws it."""
    text = errors.__doc__ or ""
    return block("text", text[text.index("AutomlTransferError") :])


def storeys() -> str:
    """Rooms by storey, from the table that the layering test enforces, with each room's own first line."""
    rooms = _assigned("STOREYS")
    storeys: dict[int, list[str]] = {}
    for room, storey in rooms.items():
        if not room.startswith("__"):
            storeys.setdefault(storey, []).append(room)
    rows = [
        (str(storey), code(room), _first_line(room))
        for storey in sorted(storeys, reverse=True)
        for room in storeys[storey]
    ]
    return table(("Storey", "Room", "What it holds"), rows)


def _assigned(name: str) -> dict[str, int]:
    for node in ast.parse(LAYERING.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            return dict(ast.literal_eval(node.value))
    raise LookupError(f"{LAYERING} must assign {name}")


def _first_line(room: str) -> str:
    path = PACKAGE / room / "__init__.py"
    if not path.is_file():
        path = PACKAGE / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def datasets() -> str:
    """Registered datasets with their options."""
    rows = []
    for name, kind in KINDS.items():
        options = {**kind.options, **COMMON_OPTIONS}
        rows.append((code(name), "; ".join(f"{code(key)}: {text}" for key, text in options.items())))
    return table(("Dataset", "Options"), rows)


def sources() -> str:
    """Recommended sources with sizes and licences."""
    rows = (
        (code(s.name), f"{s.size_bytes / 1e6:.1f} MB" if s.size_bytes else "", s.licence, s.note)
        for s in list_sources()
    )
    return table(("Source", "Size", "Licence of the weights", ""), rows)
